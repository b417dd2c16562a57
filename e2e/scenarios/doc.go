// Package scenarios holds what users rely on, shown on real kernels with the command line they use.
package scenarios
