//go:build race

package system_test

// raceDetector says that the daemon is built with the race detector, as this test is: it is slow then, and large.
const raceDetector = true
