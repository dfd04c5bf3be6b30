// SPDX-License-Identifier: Apache-2.0

package migration

// Account is account, DescribeSteps describeSteps, for tests.
var (
	Account       = account
	DescribeSteps = describeSteps
)
