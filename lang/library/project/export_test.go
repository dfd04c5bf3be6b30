// SPDX-License-Identifier: Apache-2.0

package project

// What tests look at from the inside.
var (
	SetNeed = setNeed
	Extract = extract
	Files   *files
)

// HashFolder returns the hash of the library in a folder.
func HashFolder(dir string) (string, error) {
	all, err := sumFolder(dir)
	return all.hash(), err
}
