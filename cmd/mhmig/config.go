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

// configEnding is how the names of configs end that stand where a scenario or a
// variant could.
const configEnding = ".cfg"

// shippedConfig is the full name of the config that is used when the user names
// none: in defaults mode.
const shippedConfig = "@std//" + stdlib.DefaultConfig

// configFlags is what the flags say of the config and of which of its variants
// are wanted.
type configFlags struct {
	config   string // "": the one that mhmig brings
	filters  []string
	params   []string
	defaults bool
	strict   bool
}

// flags adds the flags that all commands have which read a config.
func (s *configFlags) flags(flags *pflag.FlagSet) {
	flags.StringArrayVar(&s.filters, "filter", nil, "config `STATEMENT` to apply after the file, such as 'only Fedora'; repeatable")
	flags.StringArrayVar(&s.params, "param", nil, "set a param in every variant: `KEY=VALUE`, or with an operator of configs, such as 'KEY += VALUE'; repeatable")
	flags.BoolVar(&s.defaults, "defaults", false, "of sets with a default, take only that (without a config of your own: always)")
}

// strictFlag adds the flag of commands that can refuse what is else warned of.
func (s *configFlags) strictFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&s.strict, "strict", false, "refuse a config with warnings, with joins that lose combinations, and with words of filters in its files that no variant can match")
}

func (s *configFlags) options() cartesian.Options {
	return cartesian.Options{Defaults: s.defaults || s.config == ""}
}

// extras are the statements of filters and params, behind the config's.
func (s *configFlags) extras() []cartesian.Extra {
	var extras []cartesian.Extra
	for i, text := range s.filters {
		extras = append(extras, cartesian.Extra{Name: flagName("filter", i), Text: text})
	}
	for i, text := range s.params {
		extras = append(extras, cartesian.Extra{Name: flagName("param", i), Text: text, Param: true})
	}
	return extras
}

// parse reads the config with the filters and params applied.
func (s *configFlags) parse() (*cartesian.Config, error) {
	config, err := cartesian.Reader{Libraries: libraries}.Read(cmp.Or(s.config, shippedConfig), s.extras()...)
	if err != nil {
		return nil, exit.Usage.Wrap(err)
	}
	return config, nil
}

// flagName is what errors call the place of a flag that can be repeated.
func flagName(flag string, i int) string { return fmt.Sprintf("--%s %d", flag, i+1) }

// isFlag reports whether a place is in a flag, and in no file.
func (s *configFlags) isFlag(place string) bool {
	for i := range max(len(s.filters), len(s.params)) {
		if place == flagName("filter", i) || place == flagName("param", i) {
			return true
		}
	}
	return false
}
