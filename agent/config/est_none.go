//go:build noest

package config

// WithEST reports whether the device can get its certificates by EST: it was left out, to save 0.2 MB of flash.
const WithEST = false
