// Package units reads amounts of space as people write them: 10g, 512m, 20%. dm.Size and
// the store specification ram:LIMIT use it. A number without a unit is an error.
package units
