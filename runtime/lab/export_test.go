// SPDX-License-Identifier: Apache-2.0

package lab

// ChooseSubnet is for tests.
var ChooseSubnet = chooseSubnet
