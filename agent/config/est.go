//go:build !noest

package config

// WithEST reports whether the device can get its certificates by EST.
const WithEST = true
