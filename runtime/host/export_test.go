// SPDX-License-Identifier: Apache-2.0

package host

// For the tests.
var (
	Bootstrap  = bootstrap
	Encode     = encode
	LocalPorts = localPorts
)
