// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/file"
	"oras.land/oras-go/v2/registry/remote"
)

var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// scriptRegistry is the command registry: Debian's docker-registry on a free port. $REGISTRY is its address.
func scriptRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: registry")
	}
	dir := ts.MkAbs("registry")
	ts.Check(os.MkdirAll(dir, 0o755))
	config := filepath.Join(dir, "config.yml")
	ts.Check(os.WriteFile(config, []byte("version: 0.1\nlog: {formatter: json}\nstorage: {filesystem: {rootdirectory: "+dir+"}}\nhttp: {addr: '127.0.0.1:0'}\n"), 0o644))
	server := exec.Command("docker-registry", "serve", config)
	server.Dir = dir
	log, err := server.StderrPipe()
	ts.Check(err)
	ts.Check(server.Start())
	address := make(chan string, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(address)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				address <- m[1]
			}
		}
	})
	ts.Defer(func() {
		_ = server.Process.Kill() // fails if it has ended
		reading.Wait()
		_ = server.Wait() // its status is SIGKILL's
	})
	found, ok := <-address
	if !ok {
		ts.Fatalf("docker-registry ended")
	}
	ts.Setenv("REGISTRY", found)
}

// scriptPush is the command push DIR NAME VERSION: it pushes the files of a folder to the registry, as the program oras
// does.
func scriptPush(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: push DIR NAME VERSION")
	}
	ts.Check(push(context.Background(), ts.MkAbs(args[0]), ts.Getenv("REGISTRY")+"/"+args[1], args[2]))
}

func push(ctx context.Context, dir, name, version string) (err error) {
	files, err := file.New(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	var layers []ocispec.Descriptor
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		layer, err := files.Add(ctx, name, "", "")
		layers = append(layers, layer)
		return err
	})
	if err != nil {
		return err
	}
	manifest, err := oras.PackManifest(ctx, files, oras.PackManifestVersion1_1, "application/vnd.mhmig.library", oras.PackManifestOptions{Layers: layers})
	if err != nil {
		return err
	}
	if err := files.Tag(ctx, manifest, version); err != nil {
		return err
	}
	repository, err := remote.NewRepository(name)
	if err != nil {
		return err
	}
	repository.PlainHTTP = true
	_, err = oras.Copy(ctx, files, version, repository, version, oras.DefaultCopyOptions)
	return err
}
