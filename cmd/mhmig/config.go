// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/stdlib"
)

// configExtension is the file extension of configs.
const configExtension = ".cfg"

// shippedConfig is the full name of the default config, which is used in defaults
// mode.
const shippedConfig = "@std//" + stdlib.DefaultConfig

// configFlags are the flags that select the config and its variants.
type configFlags struct {
	config   string // "": the default one
	filters  []string
	params   []string
	defaults bool
	strict   bool
	folders  []string // NAME=PATH of libraries
	project  string   // the folder of the project; "": the one that the working directory is in
}

// flags adds the flags of all commands that read a config.
func (s *configFlags) flags(flags *pflag.FlagSet) {
	flags.StringArrayVar(&s.filters, "filter", nil, "config `STATEMENT` to apply after the file, such as 'only Fedora'; repeatable")
	flags.StringArrayVar(&s.params, "param", nil, "set a param in every variant: `KEY=VALUE`, or with an operator of configs, such as 'KEY += VALUE'; repeatable")
	flags.BoolVar(&s.defaults, "defaults", false, "of sets with a default, use only that (always on for the default config)")
	flags.StringArrayVar(&s.folders, "lib", nil, "use the library in a folder, as it is, in place of the one that mhmig.toml names: `NAME=PATH`; repeatable")
}

// strictFlag adds the flag of commands that can turn warnings into errors.
func (s *configFlags) strictFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&s.strict, "strict", false, "reject a config with warnings, unsupported params, joins that lose combinations, or words of filters in its files that no variant can match")
}

func (s *configFlags) options() cartesian.Options {
	return cartesian.Options{Defaults: s.defaults || s.config == ""}
}

// extras are the statements of --filter and --param, after the config's.
func (s *configFlags) extras() []cartesian.Extra {
	var extras []cartesian.Extra
	for i, text := range s.filters {
		extras = append(extras, cartesian.Extra{Name: fmt.Sprintf("--filter %d", i+1), Text: text})
	}
	for i, text := range s.params {
		extras = append(extras, cartesian.Extra{Name: fmt.Sprintf("--param %d", i+1), Text: text, Param: true})
	}
	return extras
}

// parse reads the config with the filters and params applied.
func (s *configFlags) parse() (*cartesian.Config, error) {
	set, err := s.libraries()
	if err != nil {
		return nil, err
	}
	config, err := cartesian.Reader{Libraries: set}.Read(cmp.Or(s.config, shippedConfig), s.extras()...)
	if err != nil {
		return nil, exit.Usage.Wrap(err)
	}
	return config, nil
}

// maxVariantsFlag adds the flag that limits the variants of a config.
func maxVariantsFlag(flags *pflag.FlagSet, limit *int) {
	flags.IntVar(limit, "max-variants", 10_000, "reject a config with more than `N` variants")
}
