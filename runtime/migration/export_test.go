// SPDX-License-Identifier: Apache-2.0

package migration

// Account is account, for tests.
var Account = account
