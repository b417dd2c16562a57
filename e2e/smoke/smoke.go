// Package smoke checks the guest itself: that what all other tests build on is there.
package smoke
