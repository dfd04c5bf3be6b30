// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"iter"
)

// Options say how to expand a config.
type Options struct {
	// Defaults takes of each set with a default (a variant marked by "@" or [default=]) only that one, or when no
	// variant comes of it, all others.
	Defaults bool
}

// Variants returns the config's variants in order, one at a time: the memory that it takes does not grow with their
// number. When ctx ends, or a variant cannot be built, the last pair has an error (of ctx, its cause). A config without
// any variants is no error; [Config.WhyEmpty] says what to tell the user then.
func (c *Config) Variants(ctx context.Context, o Options) iter.Seq2[*Variant, error] {
	return func(yield func(*Variant, error) bool) {
		for d, err := range c.dicts(ctx, o) {
			var v *Variant
			if err == nil {
				v = d.variant()
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// dicts returns what the variants are made from, each valid until the next one is asked for.
func (c *Config) dicts(ctx context.Context, o Options) iter.Seq2[*dict, error] {
	return func(yield func(*dict, error) bool) {
		stopped := false
		w := newWalk(ctx, c, o)
		w.dict = newDict(ctx, c)
		w.emit = func(d *dict) bool {
			stopped = !yield(d, nil)
			return !stopped
		}
		if _, err := w.run(); err != nil && !stopped {
			yield(nil, err)
		}
	}
}

// variant returns what d has been built into.
func (d *dict) variant() *Variant {
	v := &Variant{
		Name: string(d.name), ShortName: string(d.shortName), Params: make(Params, d.size()+2),
	}
	for _, dep := range d.deps {
		v.Dep = append(v.Dep, string(d.appendDependency(nil, dep)))
	}
	d.flatten(func(key, text string) { v.Params[key] = text })
	v.Params[keyName], v.Params[keyShortName] = v.Name, v.ShortName
	if len(d.files) > 0 {
		v.NameMapFile, v.ShortNameMapFile = map[string]string{}, map[string]string{}
		for _, file := range d.fileNames(nil) {
			v.NameMapFile[file.base] = string(d.appendLabels(nil, file, false))
			v.ShortNameMapFile[file.base] = string(d.appendLabels(nil, file, true))
		}
	}
	return v
}
