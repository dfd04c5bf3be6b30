// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"

	"github.com/mhmig/mhmig/runtime/result"
)

// A VM with nothing in it goes to and fro.
func TestBlank(t *testing.T) {
	t.Parallel()
	e := perform(t, blank(t), &play{source: `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b)
    migrate_wait(["vm1"], b, a)
`})
	e.want(t, result.Pass)
}
