// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/vm"
)

// CheckVM returns the errors of a VM that no migration with these params can move, as [New]
// does, for a run on this number of hosts; nil if the params have errors of [CheckParams].
// It is pure.
func CheckVM(p cartesian.Params, c vm.Config, hosts int) error {
	o, traits, v := parseValid(p)
	if v == nil {
		return nil
	}
	ownImages := !v.Bool("images_shared") && hosts > 1 && !traits.OneMachine && !o.ignoreShared
	return o.checkVM(c, ownImages)
}

// CheckDisks returns the errors of features of disks where no VM has one, as [New] does;
// all are the variant's VMs. It is pure.
func CheckDisks(p cartesian.Params, all []vm.Config) error {
	o, _, v := parseValid(p)
	if v == nil {
		return nil
	}
	return o.checkDisks(*v, all)
}

// parseValid parses the params of a migration; v is nil if a migration cannot have them.
func parseValid(p cartesian.Params) (o options, traits Traits, v *api.Values) {
	o, err := parseOptions(p)
	if err == nil {
		traits, err = o.transportTraits()
	}
	if err != nil {
		return o, traits, nil
	}
	values := api.Read(p)
	return o, traits, &values
}

// checkVM returns the errors of a VM that moves; ownImages says that it does between hosts
// that share no images.
func (o *options) checkVM(c vm.Config, ownImages bool) error {
	var errs []error
	if o.validateUUID && !c.HasUUID() {
		errs = append(errs, &api.ValueError{Param: "uuid", Unfit: "missing: with mig_validate_uuid QEMU compares those of both ends"})
	}
	if o.storage.on {
		errs = append(errs, c.CheckCopied())
	}
	if ownImages {
		errs = append(errs, c.CheckUncopied())
	}
	return errors.Join(errs...)
}

// checkDisks returns the errors of features of disks where no VM has one.
func (o *options) checkDisks(v api.Values, all []vm.Config) error {
	if slices.ContainsFunc(all, func(c vm.Config) bool { return len(c.Disks()) > 0 }) {
		return nil
	}
	if o.storage.on {
		v.Invalid("mig_storage", "none, where no VM has a disk (param images): migrate's params can set it for one that is plugged in")
	}
	if o.dirtyBitmaps {
		v.Unfit(setBy(v, "mig_dirty_bitmaps"), "dirty-bitmaps needs a disk, and no VM has one (param images)")
	}
	return v.Err()
}

// checkVMs checks the VMs as they are on the source, or will be started there.
func (m *Migration) checkVMs() error {
	ownImages := !m.bed.SharesImages() && m.Plan.Source != m.Plan.Destination
	var all []vm.Config
	for _, name := range m.bed.VMs() {
		c, err := m.bed.ConfigOf(name, m.Plan.Source, m.Plan.Params)
		if err != nil {
			return nil //nolint:nilerr // the step prepare reports it
		}
		all = append(all, c)
		switch {
		case !slices.Contains(m.Plan.VMs, name):
			continue
		case ownImages && !m.options.storage.on && len(c.Disks()) > 0:
			return errors.New("param mig_storage: the hosts share no images (images_shared = no): want nbd")
		}
		if err := m.options.checkVM(c, ownImages); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return m.options.checkDisks(api.Read(m.Plan.Params), all)
}
