// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mhmig/mhmig/runtime/hostsfile"
	"github.com/mhmig/mhmig/runtime/jeos"
)

var update = flag.Bool("update", false, "rewrite the scripts' golden files")

// The tests run mhmig as users do: the static executable, built once, by its
// name.
var binDir string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "go-test-mhmig-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Chmod(dir, 0o755) // for scripts that become another user
	}
	if err == nil {
		binDir = dir
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-w", "-o", dir+"/mhmig", ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build mhmig for its tests:", err)
		return 1
	}
	return m.Run()
}

// guestParts returns the folder with what a guest image is made of. It is in the
// user's cache, as the packages are downloaded only once.
var guestParts = sync.OnceValues(func() (string, error) {
	bootstrap := exec.Command(filepath.Join(binDir, "mhmig"), "bootstrap", "--quiet")
	if out, err := bootstrap.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mhmig bootstrap: %w\n%s", err, out)
	}
	cache, err := jeos.DefaultCacheDir()
	return filepath.Join(cache, "jeos", jeos.PartsDir), err
})

// giveImage puts a guest image into a cache of the test's own. It is that of the user's
// cache, byte for byte, and the saved states there fit it.
func giveImage(cache string) error {
	parts, err := guestParts()
	if err != nil {
		return err
	}
	own := filepath.Join(cache, "jeos", jeos.PartsDir)
	if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(own, os.DirFS(parts)); err != nil {
		return err
	}
	bootstrap := exec.Command(filepath.Join(binDir, "mhmig"), "bootstrap", "--quiet")
	bootstrap.Env = append(os.Environ(), "MHMIG_CACHE="+cache)
	if out, err := bootstrap.CombinedOutput(); err != nil {
		return fmt.Errorf("mhmig bootstrap: %w\n%s", err, out)
	}
	built, err := filepath.Glob(filepath.Join(cache, "jeos", "*", "initrd.cpio"))
	if err != nil {
		return err
	}
	for _, initrd := range built { // no link: scripts change whose their files are
		content, err := os.ReadFile(filepath.Join(filepath.Dir(parts), filepath.Base(filepath.Dir(initrd)), "initrd.cpio"))
		if err := errors.Join(err, os.WriteFile(initrd, content, 0o644)); err != nil {
			return err
		}
	}
	states := filepath.Join(filepath.Dir(filepath.Dir(parts)), "states")
	return errors.Join(os.MkdirAll(states, 0o700), os.Symlink(states, filepath.Join(cache, "states")))
}

// remains looks for what the runs whose results are below dir have left on this
// machine: processes, files, folders, labs in the cache.
func remains(dir, cache string) (left []string, err error) {
	var places []string
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != hostsfile.LedgerFile {
			return err
		}
		made, err := madePlaces(path)
		places = append(places, made...)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, place := range places {
		if _, err := os.Lstat(place); !errors.Is(err, fs.ErrNotExist) {
			left = append(left, place)
		}
	}
	labs, err := os.ReadDir(filepath.Join(cache, "lab"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range labs {
		left = append(left, filepath.Join(cache, "lab", e.Name()))
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, file := range commands {
		command, _ := os.ReadFile(file) // the process may have ended meanwhile
		environ, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "environ"))
		for _, place := range places {
			if bytes.Contains(command, []byte(place)) || bytes.Contains(environ, []byte("MHMIG_RUN="+place+"/")) {
				left = append(left, fmt.Sprintf("%s: %s", file, bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
				break
			}
		}
	}
	return left, nil
}

// endLab ends the lab that is kept in a test's own cache, with all that runs on its
// hosts. It is meant for tests that have failed.
func endLab(cache string) error {
	down := exec.Command(filepath.Join(binDir, "mhmig"), "lab", "down")
	down.Env = append(os.Environ(), "MHMIG_CACHE="+cache)
	if out, err := down.CombinedOutput(); err != nil {
		return fmt.Errorf("mhmig lab down: %w\n%s", err, out)
	}
	return nil
}

// removeRemains ends the processes and removes the folders that remains has
// found, so that a failed test does not harm others.
func removeRemains(left []string) {
	for _, thing := range left {
		var pid int
		if _, err := fmt.Sscanf(thing, "/proc/%d/cmdline:", &pid); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		} else if strings.Contains(thing, "/mhmig-") {
			_ = os.RemoveAll(thing)
		}
	}
}

// madePlaces returns all that a run made on its hosts, as its ledger says, and
// the labs' folders for sockets that it lay in.
func madePlaces(ledger string) ([]string, error) {
	text, err := os.ReadFile(ledger)
	if err != nil {
		return nil, err
	}
	var places []string
	for line := range strings.Lines(string(text)) {
		path := jsonText(line, "path")
		if path == "" {
			continue
		}
		places = append(places, path)
		if rest, inLab := strings.CutPrefix(path, "/tmp/mhmig-lab-"); inLab {
			id, _, _ := strings.Cut(rest, "/")
			places = append(places, "/tmp/mhmig-lab-"+id)
		}
	}
	return places, nil
}

// jsonText returns the value of a string in a line of JSON, "" if there is none.
func jsonText(line, key string) string {
	_, rest, _ := strings.Cut(line, `"`+key+`":"`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// checkJSONLines checks that text has at least one line, and each is a JSON
// object.
func checkJSONLines(text string) error {
	count := 0
	for line := range strings.Lines(text) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			return fmt.Errorf("line %d: %w: %s", count+1, err, line)
		}
		count++
	}
	if count == 0 {
		return errors.New("it is empty")
	}
	return nil
}
