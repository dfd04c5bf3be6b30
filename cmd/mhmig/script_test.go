// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript runs the command line as a user meets it: testdata/script. Each
// script has a home and a cache of its own, and must leave nothing running and
// no file of a run behind. Beside testscript's own commands there are
//
//	image                 put the guest image into the script's cache
//	push DIR NAME VERSION push a folder to the OCI registry
//	registry              start an OCI registry at $REGISTRY
//	sshd NAME             start an OpenSSH server that ~/.ssh/config calls NAME
//	well-formed FILE...   each line of the files is a JSON object, and there is one
//
// and the condition [root].
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup:               setUp,
		Condition: func(condition string) (bool, error) {
			switch condition {
			case "root":
				return os.Getuid() == 0, nil
			case "qemu": // to be had, and not left out by -short
				_, err := exec.LookPath("qemu-system-x86_64")
				return err == nil && !testing.Short(), nil
			}
			return false, fmt.Errorf("unknown condition %q", condition)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"image": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Check(giveImage(ts.Getenv("MHMIG_CACHE")))
			},
			"messages":    messages,
			"push":        scriptPush,
			"registry":    scriptRegistry,
			"sshd":        scriptSSHD,
			"well-formed": wellFormed,
		},
	})
}

// messages is "messages FILE": the last command has written FILE to stderr, and perhaps that
// something takes long, such as git on a machine under load.
func messages(ts *testscript.TestScript, not bool, args []string) {
	if not || len(args) != 1 {
		ts.Fatalf("usage: messages FILE")
	}
	got := takesLonger.ReplaceAllString(ts.ReadFile("stderr"), "")
	if diff := cmp.Diff(ts.ReadFile(args[0]), got); diff != "" {
		ts.Fatalf("stderr (-want +got):\n%s", diff)
	}
}

var takesLonger = regexp.MustCompile(`(?m)^mhmig: .*: takes longer than 2s\n`)

func setUp(env *testscript.Env) error {
	if err := os.Chmod(filepath.Dir(env.WorkDir), 0o755); err != nil { // for scripts that become another user
		return err
	}
	home, cache := filepath.Join(env.WorkDir, "home"), filepath.Join(env.WorkDir, "cache")
	if err := errors.Join(os.MkdirAll(filepath.Join(home, ".ssh"), 0o700), os.MkdirAll(cache, 0o755)); err != nil {
		return err
	}
	env.Setenv("HOME", home)
	env.Setenv("MHMIG_CACHE", cache)
	env.Setenv("PATH", binDir+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("repo", repository())
	env.Defer(func() {
		left, err := remains(env.WorkDir, cache)
		if err != nil {
			env.T().Fatal(err)
		}
		if len(left) > 0 {
			if err := endLab(cache); err != nil {
				env.T().Log(err)
			}
			removeRemains(left)
			env.T().Fatal("left behind:\n" + strings.Join(left, "\n"))
		}
	})
	return nil
}

// repository is the folder of the module.
func repository() string {
	here, err := filepath.Abs("../..")
	if err != nil {
		panic(err) // of a test without a working directory
	}
	return here
}

func wellFormed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: well-formed FILE...")
	}
	for _, name := range args {
		if err := checkJSONLines(ts.ReadFile(name)); err != nil {
			ts.Fatalf("%s: %v", name, err)
		}
	}
}
