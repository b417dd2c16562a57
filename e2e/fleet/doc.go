// Package fleet tests the Ansible collection as its users have it: over ssh, on hosts of their own.
package fleet
