// SPDX-License-Identifier: Apache-2.0

package project

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/mod/semver"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/file"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/mhmig/mhmig/lang/diag"
)

// ociScheme begins the source of a library in a registry.
const ociScheme = "oci://"

// ociRepository is a library in an OCI registry: artifacts as the program oras pushes them, a layer for each file or
// folder, with the version as their tag. Its commit is the digest of the manifest. Credentials are docker's.
type ociRepository struct {
	store   store
	name    registry.Reference // such as registry.example.com/team/net
	working func(what string) (done func())
}

// parseOCI parses the source of a library in a registry.
func parseOCI(source string) (registry.Reference, error) {
	name, err := registry.ParseReference(strings.TrimPrefix(source, ociScheme))
	if err != nil || name.Reference != "" {
		return name, fmt.Errorf("source %s: want oci://REGISTRY/NAME", source)
	}
	return name, nil
}

// client connects to the registry.
func (o *ociRepository) client() (*remote.Repository, error) {
	login, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("docker's credentials: %w", err)
	}
	return &remote.Repository{
		Client:    &auth.Client{Client: retry.DefaultClient, Cache: auth.NewCache(), Credential: credentials.Credential(login)},
		Reference: o.name,
		PlainHTTP: isLoopback(o.name.Host()), // as docker does it
	}, nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (o *ociRepository) String() string { return ociScheme + o.name.String() }

func (o *ociRepository) find(ctx context.Context, query string) (version, commit string, err error) {
	if query == "" {
		return o.latest(ctx, "")
	}
	if err := checkVersion(query); err != nil {
		return "", "", fmt.Errorf("%s: %w", o, err)
	}
	client, err := o.client()
	if err != nil {
		return "", "", err
	}
	artifact, err := client.Resolve(ctx, query)
	switch {
	case ctx.Err() != nil:
		return "", "", context.Cause(ctx)
	case errors.Is(err, errdef.ErrNotFound):
		return "", "", o.unknown(ctx, query)
	case err != nil:
		return "", "", fmt.Errorf("%s: %w", o, err)
	}
	return query, artifact.Digest.String(), nil
}

// latest returns the newest release of a major version, "" for all.
func (o *ociRepository) latest(ctx context.Context, major string) (version, commit string, err error) {
	versions, err := o.releases(ctx)
	if err != nil {
		return "", "", err
	}
	if version = newest(versions, major); version == "" {
		return "", "", o.unknown(ctx, major)
	}
	return o.find(ctx, version)
}

// releases are the versions that have tags, oldest first.
func (o *ociRepository) releases(ctx context.Context) ([]string, error) {
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	var versions []string
	err = client.Tags(ctx, "", func(tags []string) error {
		for _, tag := range tags {
			if checkVersion(tag) == nil {
				versions = append(versions, tag)
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", o, err)
	}
	semver.Sort(versions)
	return versions, nil
}

// unknown is the error of a version that the registry does not have.
func (o *ociRepository) unknown(ctx context.Context, query string) error {
	versions, err := o.releases(ctx)
	switch near := diag.Nearest(query, versions); {
	case err != nil:
		return err
	case len(versions) == 0:
		return fmt.Errorf("%s has no tags such as v1.0.0", o)
	case near != "":
		return fmt.Errorf("%s has no version %s; did you mean %s?", o, query, near)
	}
	return fmt.Errorf("%s has no version %s; it has %s", o, query, strings.Join(versions[max(0, len(versions)-5):], ", "))
}

func (o *ociRepository) unpack(ctx context.Context, version, commit string) (dir string, release func(), err error) {
	if o.working != nil {
		defer o.working("fetching " + o.String())()
	}
	dir, release, err = o.store.temporary()
	if err != nil {
		return "", nil, err
	}
	if err := o.copyTo(ctx, dir, commit); err != nil {
		release()
		return "", nil, fmt.Errorf("unpack %s at %s: %w", o, version, err)
	}
	return dir, release, nil
}

// copyTo writes the files of the artifact with a digest into a folder, which nothing in it can leave.
func (o *ociRepository) copyTo(ctx context.Context, dir, digest string) error {
	client, err := o.client()
	if err != nil {
		return err
	}
	files, err := file.New(dir)
	if err != nil {
		return err
	}
	options := oras.DefaultCopyOptions
	size := int64(0)
	options.Concurrency = 1
	options.PreCopy = func(_ context.Context, part ocispec.Descriptor) error {
		if size += part.Size; size > maxUnpacked {
			return fmt.Errorf("the files are larger than %d MiB together", maxUnpacked>>20)
		}
		return nil
	}
	_, err = oras.Copy(ctx, client, digest, files, digest, options)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return errors.Join(err, files.Close())
}
