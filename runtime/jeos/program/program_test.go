// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/jeos/program"
)

var update = flag.Bool("update", false, "build the guest's program anew, by the Go that runs this test")

const (
	command     = "github.com/mhmig/mhmig/cmd/guestd"
	packedFile  = "guestd.gz"
	sourcesFile = "guestd.sources"
	// mostBytes is what a guest of 128 MiB can spare.
	mostBytes = 6 << 20
)

// TestMain rebuilds first, with -update: the tests then look at the new files,
// but for what is embedded, which the next build of this test has.
func TestMain(m *testing.M) {
	flag.Parse()
	if *update {
		if err := rebuild(); err != nil {
			fmt.Fprintln(os.Stderr, "make guest:", err)
			os.Exit(1)
		}
		fmt.Println("wrote", packedFile, "and", sourcesFile)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func rebuild() error {
	if !released(runtime.Version()) {
		return fmt.Errorf("%s is no released Go, which others could get to build the same", runtime.Version())
	}
	sources, err := sources()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mhmig-guestd-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	content, err := build(dir, runtime.Version())
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(packedFile, packed.Bytes(), 0o644), os.WriteFile(sourcesFile, []byte(sources), 0o644))
}

// released reports whether a Go has a version that names one toolchain for all.
func released(version string) bool {
	return strings.HasPrefix(version, "go1.") && !strings.ContainsAny(version, " -")
}

// goTool is the go command without what this machine's settings would change in
// what it builds.
func goTool(version string, args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off")
	if version != "" {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+version)
	}
	return cmd
}

func output(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	return out, nil
}

// build builds the program by the Go of that version.
func build(dir, version string) ([]byte, error) {
	path := filepath.Join(dir, "guestd")
	// No path, no time, no revision: the same sources give the same program.
	cmd := goTool(version, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", path, command)
	if _, err := output(cmd); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// sources are the packages that the program is made of, the standard library's
// aside: a line for each, with a hash over its files. Another Go lists the same.
func sources() (string, error) {
	out, err := output(goTool("", "list", "-deps", "-json=ImportPath,Dir,Standard,Module,GoFiles,SFiles,HFiles,EmbedFiles", command))
	if err != nil {
		return "", err
	}
	var lines []string
	for packages := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir                     string
			Standard                            bool
			Module                              struct{ GoVersion string }
			GoFiles, SFiles, HFiles, EmbedFiles []string
		}
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return "", err
		}
		if p.Standard {
			continue
		}
		h := sha256.New()
		fmt.Fprintln(h, p.Module.GoVersion) // it decides what the language means
		for _, name := range slices.Concat(p.GoFiles, p.SFiles, p.HFiles, p.EmbedFiles) {
			content, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, "%s %x\n", name, sha256.Sum256(content))
		}
		lines = append(lines, fmt.Sprintf("%s %x\n", p.ImportPath, h.Sum(nil)))
	}
	slices.Sort(lines)
	return strings.Join(lines, ""), nil
}

func executable(t *testing.T) []byte {
	t.Helper()
	content, err := program.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestSources: whoever changes what the program is made of, or a dependency of
// it, is told to rebuild it, whatever Go they have.
func TestSources(t *testing.T) {
	t.Parallel()
	got, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(sourcesFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s was built from other sources than these: make guest\n%s", packedFile, diff)
	}
}

// TestReproducible builds the program again, by the Go that has built it, be it
// that of this test or one that the go command fetches, and compares.
func TestReproducible(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the guest's program: not with -short")
	}
	want := executable(t)
	info, err := buildinfo.Read(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	if !released(info.GoVersion) {
		t.Fatalf("%s was built by %s, which is no released Go", packedFile, info.GoVersion)
	}
	if _, err := output(goTool(info.GoVersion, "version")); err != nil {
		if info.GoVersion == runtime.Version() {
			t.Fatal(err)
		}
		t.Skipf("NOT TESTED: %s was built by %s, this is %s, and the other one cannot be had here: %v",
			packedFile, info.GoVersion, runtime.Version(), err)
	}
	got, err := build(t.TempDir(), info.GoVersion)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s does not hold what %s builds: %d bytes, sha256 %x; want %d, %x\nif TestSources passes, the sources are the same: is this Go as it was released?",
			packedFile, info.GoVersion, len(want), sha256.Sum256(want), len(got), sha256.Sum256(got))
	}
}

// TestExecutable: the program suits the guest.
func TestExecutable(t *testing.T) {
	t.Parallel()
	content := executable(t)
	t.Logf("the guest's program has %.1f MiB", float64(len(content))/(1<<20))
	if len(content) > mostBytes {
		t.Errorf("the guest's program has %d bytes, want %d at most", len(content), mostBytes)
	}
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine != elf.EM_X86_64 {
		t.Errorf("the guest's program is for %s, want x86_64", f.Machine)
	}
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Error("the guest's program is not static")
	}
}
