// Package powercut cuts the power of a virtual machine while dmsnap works in it, and looks what is left after the next boot.
package powercut
