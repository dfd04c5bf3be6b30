// SPDX-License-Identifier: Apache-2.0

package project

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// origin is where a library comes from.
type origin interface {
	// find returns the version that query means, and its commit if there are commits. A query is "", the latest
	// release; a version; or what else the origin knows, such as a branch.
	find(ctx context.Context, query string) (version, commit string, err error)
	// unpack makes the files of a version available in a folder, until release is called.
	unpack(ctx context.Context, version, commit string) (dir string, release func(), err error)
	// String is the source as in the lock.
	String() string
}

// scpLike is how git also writes an SSH URL.
var scpLike = regexp.MustCompile(`^[\w.-]+@[\w.-]+:[^/]`)

var scheme = regexp.MustCompile(`^([a-z][a-z0-9+.-]*)://`)

// IsFolder reports whether a source is a folder of this machine.
func IsFolder(source string) bool { return !scheme.MatchString(source) && !scpLike.MatchString(source) }

// SplitSource splits SOURCE[@VERSION].
func SplitSource(text string) (source, version string) {
	i := strings.LastIndexByte(text, '@')
	if i < 0 || strings.ContainsAny(text[i:], "/:") {
		return text, ""
	}
	return text[:i], text[i+1:]
}

// splitFolder splits a git source into the repository and the folder in it: "https://git.example.com/all.git//net".
func splitFolder(source string) (repository, folder string) {
	start := 0
	if m := scheme.FindString(source); m != "" {
		start = len(m)
	}
	if before, after, ok := strings.Cut(source[start:], "//"); ok {
		return source[:start] + before, after
	}
	return source, ""
}

// origin returns the origin of a source that the manifest in the folder base names; base is "" for a manifest that is
// not in a folder of the user's.
func (p *Project) origin(source, base string) (origin, error) {
	if source == "" {
		return nil, errors.New("the source is empty; want a folder or a git repository")
	}
	if IsFolder(source) {
		dir := filepath.FromSlash(source)
		if !filepath.IsAbs(dir) {
			if base == "" {
				return nil, fmt.Errorf("source %s is a folder, which a library that was fetched cannot name; want a git repository", source)
			}
			dir = filepath.Join(base, dir)
		}
		return folder{project: p.Dir, dir: dir}, nil
	}
	if strings.HasPrefix(source, ociScheme) {
		name, err := parseOCI(source)
		return &ociRepository{store: p.store, name: name, working: p.Working}, err
	}
	if m := scheme.FindStringSubmatch(source); m != nil && m[1] != "https" && m[1] != "ssh" && m[1] != "file" {
		return nil, fmt.Errorf("source %s: %s is not supported; want https, ssh, file or oci, or a folder", source, m[1])
	}
	repository, inner := splitFolder(source)
	if inner != "" && (path.Clean(inner) != inner || !filepath.IsLocal(inner)) {
		return nil, fmt.Errorf("source %s: %q is no folder of a repository", source, inner)
	}
	return &gitRepository{store: p.store, url: repository, folder: inner, working: p.Working}, nil
}

// folder is a library in a folder of this machine.
type folder struct{ project, dir string }

func (f folder) String() string {
	if inner, err := filepath.Rel(f.project, f.dir); err == nil {
		return filepath.ToSlash(inner)
	}
	return filepath.ToSlash(f.dir)
}

func (f folder) find(_ context.Context, query string) (version, _ string, err error) {
	m, err := readManifest(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("there is no library in the folder %s, as it has no %s", f, ManifestName)
	} else if err != nil {
		return "", "", err
	}
	if query != "" && !satisfies(m.Version, query) {
		return "", "", fmt.Errorf("the folder %s has version %s, not %s", f, m.Version, query)
	}
	return m.Version, "", nil
}

func (f folder) unpack(context.Context, string, string) (dir string, release func(), err error) {
	return f.dir, func() {}, nil
}
