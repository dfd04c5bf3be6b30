// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/debian"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/vm"
)

// ownGuests are the guests that mhmig builds itself, which are looked for once. The zero
// value is ready. All methods may be called from any goroutine.
type ownGuests struct {
	mu    sync.Mutex                   // guards files
	files map[string]map[string]string // guest -> name in params -> local path
}

// check returns an error if the variant's guest is one of mhmig's own that is not built.
func (g *ownGuests) check(ctx context.Context, v *cartesian.Variant) error {
	guest := vm.ShippedGuest(v.Params["kernel"])
	if guest == "" || len(v.Params.Objects("vms")) == 0 {
		return nil
	}
	_, err := g.find(ctx, guest)
	return exit.Hosts.Wrap(err)
}

// file returns the local path of one of mhmig's own files, by the value of a param.
func (g *ownGuests) file(ctx context.Context, value string) (string, error) {
	files, err := g.find(ctx, vm.ShippedGuest(value))
	if err != nil {
		return "", err
	}
	_, name, _ := strings.Cut(value, ":")
	if files[name] == "" {
		return "", fmt.Errorf("%s: mhmig has no such file, only %s", value, strings.Join(slices.Sorted(maps.Keys(files)), ", "))
	}
	return files[name], nil
}

func (g *ownGuests) find(ctx context.Context, guest string) (map[string]string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if files := g.files[guest]; files != nil {
		return files, nil
	}
	files, err := findGuest(ctx, guest)
	if err != nil {
		return nil, err
	}
	if g.files == nil {
		g.files = map[string]map[string]string{}
	}
	g.files[guest] = files
	return files, nil
}

// findGuest returns the local paths of the files of one of mhmig's own guests, by the
// names that params have for them.
func findGuest(ctx context.Context, guest string) (map[string]string, error) {
	if guest == vm.ShippedDebian {
		image, err := debian.Find(debian.Options{})
		return map[string]string{"kernel": image.Kernel, "initrd": image.Initrd, "disk": image.Disk}, err
	}
	image, err := jeos.Find(ctx, jeos.Options{})
	return map[string]string{"kernel": image.Kernel, "bzimage": image.BzImage, "initrd": image.Initrd}, err
}
