// Package docs is documentation. Its tests keep it true.
package docs
