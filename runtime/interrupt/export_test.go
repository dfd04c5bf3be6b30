// SPDX-License-Identifier: Apache-2.0

package interrupt

// Watch is Context with signals from a channel: those of the system come from outside
// of virtual time.
var Watch = watch
