// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/stdlib"
)

// configEnding is how the names of configs end that stand where a scenario or a
// variant could.
const configEnding = ".cfg"

// shippedConfig is the full name of the config that is used when the user names
// none: in defaults mode.
const shippedConfig = "@std//" + stdlib.DefaultConfig

// selection is what the flags say of the config and of which of its variants
// are wanted.
type selection struct {
	config   string // "": the one that mhmig brings
	filters  []string
	params   []string
	defaults bool
	strict   bool
}

// flags adds the flags that all commands have which read a config.
func (s *selection) flags(flags *pflag.FlagSet) {
	flags.StringArrayVar(&s.filters, "filter", nil, "config `STATEMENT` to apply after the file, such as 'only Fedora'; repeatable")
	flags.StringArrayVar(&s.params, "param", nil, "set a param in every variant: `KEY=VALUE`, or with an operator of configs, such as 'KEY += VALUE'; repeatable")
	flags.BoolVar(&s.defaults, "defaults", false, "of sets with a default, take only that (without a config of your own: always)")
}

// strictFlag adds the flag of commands that can refuse what is else warned of.
func (s *selection) strictFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&s.strict, "strict", false, "refuse a config with warnings, with joins that lose combinations, and with words of filters in its files that no variant can match")
}

func (s *selection) options() cartesian.Options {
	return cartesian.Options{Defaults: s.defaults || s.config == ""}
}

// parse reads the config with the filters and params applied.
func (s *selection) parse() (*cartesian.Config, error) {
	var extra []cartesian.Extra
	for i, text := range s.filters {
		extra = append(extra, cartesian.Extra{Name: flagName("filter", i), Text: text})
	}
	for i, text := range s.params {
		extra = append(extra, cartesian.Extra{Name: flagName("param", i), Text: text, Param: true})
	}
	config, err := cartesian.Reader{Libraries: libraries}.Read(cmp.Or(s.config, shippedConfig), extra...)
	if err != nil {
		return nil, exit.Usage.Wrap(err)
	}
	return config, nil
}

// warnings tells what has a meaning but is probably not meant so: in the config,
// and of params that nothing reads under the name that --param gives them.
func (s *selection) warnings(config *cartesian.Config) diag.List {
	return s.withUnread(config, config.Warnings())
}

// faults are what --strict refuses: warnings, and words of filters in files that
// no variant can match.
func (s *selection) faults(config *cartesian.Config) diag.List {
	faults := s.withUnread(config, config.Strict())
	for i := range faults {
		faults[i].Severity = diag.Error
	}
	return faults
}

func (s *selection) withUnread(config *cartesian.Config, l diag.List) diag.List {
	var known []string
	for i, text := range s.params {
		key := cartesian.ParamKey(text)
		if known == nil {
			known = config.KeysInFiles()
		}
		if meant := api.Meant(key, known); meant != "" {
			l = append(l, diag.Diagnostic{
				Severity: diag.Warning, Pos: diag.Pos{File: flagName("param", i), Line: 1, Col: 1}, Source: text,
				Message: fmt.Sprintf("neither mhmig nor the config has a param %q", key), Hint: fmt.Sprintf("did you mean %q?", meant),
			})
		}
	}
	l.Sort()
	return l
}

// flagName is what errors call the place of a flag that can be repeated.
func flagName(flag string, i int) string { return fmt.Sprintf("--%s %d", flag, i+1) }

// isFlag says whether a place is in a flag, and in no file.
func (s *selection) isFlag(place string) bool {
	for i := range max(len(s.filters), len(s.params)) {
		if place == flagName("filter", i) || place == flagName("param", i) {
			return true
		}
	}
	return false
}

// whyEmpty says why a config has no variants, and what else in it may not have
// the meaning that its author had in mind, which remarks tell.
func whyEmpty(ctx context.Context, config *cartesian.Config, options cartesian.Options, remarks diag.List) diag.List {
	why := config.WhyEmpty(ctx, options)
	for _, remark := range remarks {
		if !slices.ContainsFunc(why, remark.SaysTheSame) {
			why = append(why, remark)
		}
	}
	why.Sort()
	return why
}

// limitVariants refuses a config with more variants than limit, which --max-variants
// says. A mistake in a filter can leave millions.
func limitVariants(command *cobra.Command, config *cartesian.Config, options cartesian.Options, limit int) error {
	wait := waitFor(command, fmt.Sprintf("looking whether there are more than %d variants", limit))
	defer wait.Done()
	switch more, err := config.Exceeds(command.Context(), limit, options); {
	case err != nil:
		return exit.Usage.Wrap(err)
	case more:
		return exit.Usage.Wrap(fmt.Errorf(
			"--max-variants %d: the config has more variants than that; narrow it with --filter, or allow more with --max-variants", limit))
	}
	return nil
}

// setByUser says whether --param sets this key.
func (s *selection) setByUser(key string) bool {
	return slices.ContainsFunc(s.params, func(text string) bool { return cartesian.ParamKey(text) == key })
}
