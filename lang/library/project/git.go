// SPDX-License-Identifier: Apache-2.0

package project

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/mhmig/mhmig/lang/diag"
)

// gitRepository is a library in a git repository, or in a folder of one. The git program fetches it, with the user's
// credentials, into a bare repository of the cache.
type gitRepository struct {
	store   store
	url     string
	folder  string // in the repository; "": the whole
	working func(what string) (done func())

	fetched bool // in this process
}

func (g *gitRepository) String() string {
	if g.folder == "" {
		return g.url
	}
	return g.url + "//" + g.folder
}

// dir is the bare repository in the cache.
func (g *gitRepository) dir() string {
	return filepath.Join(g.store.dir, "git", fmt.Sprintf("%x", sha256.Sum256([]byte(g.url)))[:32])
}

// git runs the git program on the bare repository, and returns its standard output.
func (g *gitRepository) git(ctx context.Context, args ...string) ([]byte, error) {
	out, _, err := g.run(ctx, args...)
	return out, err
}

// run runs the git program on the bare repository. The text of an error is its standard error.
func (g *gitRepository) run(ctx context.Context, args ...string) (out, messages []byte, err error) {
	args = append([]string{"--git-dir=" + g.dir(), "-c", "gc.auto=0", "-c", "core.autocrlf=false", "-c", "core.eol=lf"}, args...)
	command := exec.CommandContext(ctx, "git", args...)
	for _, variable := range os.Environ() { // those of a hook that runs mhmig are of another repository
		if name, _, _ := strings.Cut(variable, "="); name != "GIT_DIR" && name != "GIT_WORK_TREE" && name != "GIT_INDEX_FILE" && name != "GIT_OBJECT_DIRECTORY" {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env, "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=https:ssh:file")
	if os.Getenv("GIT_SSH_COMMAND") == "" && os.Getenv("GIT_SSH") == "" {
		command.Env = append(command.Env, "GIT_SSH_COMMAND=ssh -o BatchMode=yes")
	}
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // it removes its locks
	command.WaitDelay = 5 * time.Second
	switch err = command.Run(); {
	case err == nil:
		return stdout.Bytes(), stderr.Bytes(), nil
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return nil, nil, errors.New("the program git is not installed, which fetches libraries")
	}
	if message := strings.TrimSpace(stderr.String()); message != "" {
		err = errors.New(strings.TrimPrefix(message, "fatal: "))
	}
	return nil, nil, err
}

// fetch brings the bare repository up to date, once per process. Processes take turns.
func (g *gitRepository) fetch(ctx context.Context) error {
	if g.fetched {
		return nil
	}
	done := func() {}
	if g.working != nil {
		done = g.working("fetching " + g.url)
	}
	defer done()
	unlock, err := g.store.lock(ctx, filepath.Base(g.dir()))
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(g.dir(), "HEAD")); err != nil {
		if err := os.MkdirAll(filepath.Dir(g.dir()), 0o755); err != nil {
			return err
		}
		if _, err := g.git(ctx, "init", "--quiet", "--bare", "--template="); err != nil {
			return err
		}
		// An archive has the files as they are.
		info := filepath.Join(g.dir(), "info")
		if err := errors.Join(os.MkdirAll(info, 0o755), os.WriteFile(filepath.Join(info, "attributes"), []byte("* -export-subst -export-ignore\n"), 0o644)); err != nil {
			return err
		}
	}
	if _, err := g.git(ctx, "fetch", "--quiet", "--force", "--prune", "--no-write-fetch-head", "--", g.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"); err != nil {
		return fmt.Errorf("fetch %s: %w", g.url, err)
	}
	g.fetched = true
	return nil
}

// commit returns the full hash of a revision that was fetched, "" if there is none of that name.
func (g *gitRepository) commit(ctx context.Context, revision string) (string, error) {
	if _, err := os.Stat(g.dir()); err != nil {
		return "", nil //nolint:nilerr // not fetched yet
	}
	out, err := g.git(ctx, "rev-parse", "--quiet", "--verify", "--end-of-options", revision+"^{commit}")
	if ctx.Err() != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

// tag is the tag of a version: those of a folder begin with its path.
func (g *gitRepository) tag(version string) string { return path.Join(g.folder, version) }

// releases are the versions that have tags, oldest first.
func (g *gitRepository) releases(ctx context.Context) ([]string, error) {
	out, err := g.git(ctx, "for-each-ref", "--format=%(refname)", "refs/tags")
	var versions []string
	for line := range strings.Lines(string(out)) {
		tag := strings.TrimPrefix(strings.TrimSpace(line), "refs/tags/")
		if version := path.Base(tag); tag == g.tag(version) && checkVersion(version) == nil {
			versions = append(versions, version)
		}
	}
	semver.Sort(versions)
	return versions, err
}

var commitHash = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

func (g *gitRepository) find(ctx context.Context, query string) (version, commit string, err error) {
	revision := "refs/tags/" + g.tag(query)
	isVersion := checkVersion(query) == nil
	if module.IsPseudoVersion(query) {
		if revision, err = module.PseudoVersionRev(query); err != nil {
			return "", "", err
		}
	}
	if isVersion { // it never changes, so that no fetching is needed
		if commit, err = g.commit(ctx, revision); commit != "" || err != nil {
			return query, commit, err
		}
	}
	if err := g.fetch(ctx); err != nil {
		return "", "", err
	}
	if isVersion {
		commit, err = g.commit(ctx, revision)
		if commit == "" && err == nil {
			err = g.unknown(ctx, query)
		}
		return query, commit, err
	}
	if query == "" {
		return g.latest(ctx, "")
	}
	if commit, err = g.commit(ctx, "refs/heads/"+query); commit == "" && err == nil && commitHash.MatchString(query) {
		commit, err = g.commit(ctx, query)
	}
	if commit == "" && err == nil {
		err = g.unknown(ctx, query)
	}
	if err != nil {
		return "", "", err
	}
	version, err = g.versionOf(ctx, commit)
	return version, commit, err
}

// latest returns the newest release of a major version, "" for all; one that is no pre-release if there is any.
func (g *gitRepository) latest(ctx context.Context, major string) (version, commit string, err error) {
	if err := g.fetch(ctx); err != nil {
		return "", "", err
	}
	versions, err := g.releases(ctx)
	if err != nil {
		return "", "", err
	}
	if version = newest(versions, major); version == "" {
		return "", "", g.unknown(ctx, cmp.Or(major, "a release"))
	}
	commit, err = g.commit(ctx, "refs/tags/"+g.tag(version))
	return version, commit, err
}

// newest is the newest of some versions with a major version, "" for any; the newest pre-release if there are no others.
func newest(versions []string, major string) string {
	found := ""
	for _, v := range versions { // oldest first
		if major != "" && majorOf(v) != major {
			continue
		}
		if found == "" || semver.Prerelease(v) == "" || semver.Prerelease(found) != "" {
			found = v
		}
	}
	return found
}

// unknown is the error of a version, branch or commit that the repository does not have.
func (g *gitRepository) unknown(ctx context.Context, query string) error {
	versions, err := g.releases(ctx)
	if err != nil {
		return err
	}
	hint := "it has no tags such as " + g.tag("v1.0.0") + ": name a branch or a commit, as in SOURCE@main"
	if near := diag.Nearest(query, versions); near != "" {
		hint = "did you mean " + near + "?"
	} else if len(versions) > 0 {
		hint = "it has " + strings.Join(versions[max(0, len(versions)-5):], ", ")
	}
	return fmt.Errorf("%s has no version, branch or commit %s; %s", g, query, hint)
}

// versionOf is the version of a commit: that of its tag, else one that is made of the manifest's version, the time and
// the hash, as Go has it, between the manifest's version and the next one.
func (g *gitRepository) versionOf(ctx context.Context, commit string) (string, error) {
	out, err := g.git(ctx, "for-each-ref", "--format=%(refname)", "--points-at", commit, "refs/tags")
	if err != nil {
		return "", err
	}
	tags := strings.Fields(string(out))
	versions, err := g.releases(ctx)
	if err != nil {
		return "", err
	}
	for _, version := range slices.Backward(versions) {
		if slices.Contains(tags, "refs/tags/"+g.tag(version)) {
			return version, nil
		}
	}
	file := path.Join(g.folder, ManifestName)
	text, err := g.git(ctx, "cat-file", "blob", commit+":"+file)
	if err != nil {
		return "", fmt.Errorf("%s has no %s at commit %.12s: %w", g.url, file, commit, err)
	}
	m, err := parseManifest(text, file)
	if err != nil {
		return "", err
	}
	out, err = g.git(ctx, "log", "-1", "--format=%ct", commit, "--")
	if err != nil {
		return "", err
	}
	var seconds int64
	if _, err := fmt.Sscan(string(out), &seconds); err != nil {
		return "", fmt.Errorf("the time of commit %s: %w", commit, err)
	}
	return module.PseudoVersion(semver.Major(m.Version), m.Version, time.Unix(seconds, 0).UTC(), commit[:12]), nil
}

var goodSignature = regexp.MustCompile(`(?m)^Good "git" signature for (\S+) with \S+ key (\S+)$`)

// An unsignedError is a version that none of the allowed signers has signed.
type unsignedError struct{ message string }

func (e *unsignedError) Error() string { return e.message }

// signer returns who has signed a version by SSH, and the key's fingerprint: its tag, or its commit if it has none. It is
// an [*unsignedError] if it is none of the allowed signers.
func (g *gitRepository) signer(ctx context.Context, version, commit, signers string) (string, error) {
	if _, err := os.Stat(signers); err != nil {
		return "", fmt.Errorf("the allowed signers: %w", err)
	}
	fail := func(why string) (string, error) {
		return "", &unsignedError{fmt.Sprintf("%s at %s is not signed by any of %s: %s", g, version, signers, why)}
	}
	what, object, kind := "verify-commit", commit, "commit"
	if !module.IsPseudoVersion(version) {
		what, object, kind = "verify-tag", "refs/tags/"+g.tag(version), "tag"
	}
	if known, err := g.commit(ctx, object); err != nil {
		return "", err
	} else if known == "" {
		if err := g.fetch(ctx); err != nil {
			return "", err
		}
	}
	if tagged, err := g.commit(ctx, object); err != nil {
		return "", err
	} else if tagged != commit {
		return fail("the tag has moved away from the commit that is locked, " + commit)
	}
	if kind == "tag" { // the signature is of the name in the object
		text, err := g.git(ctx, "cat-file", "tag", object)
		if err != nil {
			return fail("its tag has no signature")
		}
		head, _, _ := strings.Cut(string(text), "\n\n")
		if !slices.Contains(strings.Split(head, "\n"), "tag "+g.tag(version)) {
			return fail("its tag is the one of another version")
		}
	}
	_, messages, err := g.run(ctx, "-c", "gpg.ssh.allowedSignersFile="+signers, what, "--raw", object)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		return fail(strings.ReplaceAll(err.Error(), "\n", ": "))
	}
	good := goodSignature.FindStringSubmatch(string(messages))
	if good == nil {
		return fail("its " + kind + " has no valid signature")
	}
	return good[1] + " " + good[2], nil
}

// maxUnpacked is the maximum size of all files of a library.
const maxUnpacked = 1 << 30

func (g *gitRepository) unpack(ctx context.Context, version, commit string) (dir string, release func(), err error) {
	if err := g.need(ctx, version, commit); err != nil {
		return "", nil, err
	}
	archive, err := g.git(ctx, "archive", "--format=tar", commit+":"+g.folder)
	if err != nil {
		return "", nil, fmt.Errorf("the files of %s at %s: %w", g, version, err)
	}
	if dir, release, err = g.store.temporary(); err != nil {
		return "", nil, err
	}
	if err := extract(bytes.NewReader(archive), dir); err != nil {
		release()
		return "", nil, fmt.Errorf("unpack %s at %s: %w", g, version, err)
	}
	return dir, release, nil
}

// need fetches a commit, if it is not there.
func (g *gitRepository) need(ctx context.Context, version, commit string) error {
	if known, err := g.commit(ctx, commit); known != "" || err != nil {
		return err
	}
	if err := g.fetch(ctx); err != nil {
		return err
	}
	if known, err := g.commit(ctx, commit); known != "" || err != nil {
		return err
	}
	// No branch and no tag leads to it any more. Some servers still have it.
	_, err := g.git(ctx, "fetch", "--quiet", "--no-write-fetch-head", "--", g.url, commit)
	if err == nil || ctx.Err() != nil {
		return err
	}
	now, _ := g.commit(ctx, "refs/tags/"+g.tag(version))
	if now == "" {
		return fmt.Errorf("%s has neither the tag %s nor its commit %.12s any more", g, g.tag(version), commit)
	}
	return fmt.Errorf("%s does not have the commit %.12s of %s any more, whose tag is at %.12s now; without the entry in %s that is taken",
		g, commit, version, now, LockName)
}

// extract unpacks an archive into a folder, which nothing in it can leave. Submodules are empty folders.
func extract(archive io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	size := int64(0)
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		name := path.Clean(header.Name)
		if size += header.Size; size > maxUnpacked {
			return fmt.Errorf("the files are larger than %d MiB together", maxUnpacked>>20)
		}
		switch header.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeSymlink: // the listing of the files rejects it, if it is one of them
			err = errors.Join(root.MkdirAll(path.Dir(name), 0o755), root.Symlink(header.Linkname, name))
		case tar.TypeReg:
			err = errors.Join(root.MkdirAll(path.Dir(name), 0o755), writeInside(root, name, r))
		}
		if err != nil {
			return err
		}
	}
}

func writeInside(root *os.Root, name string, r io.Reader) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, r)
	return errors.Join(err, file.Close())
}
