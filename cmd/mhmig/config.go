// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/stdlib"
)

// configEnding is how the names of configs end that stand where a scenario or a
// variant could.
const configEnding = ".cfg"

// selection is what the flags say of the config and of which of its variants
// are wanted.
type selection struct {
	config  string // "": the one that mhmig brings
	filters []string
	params  []string
}

// flags adds the flags that all commands have which read a config.
func (s *selection) flags(flags *pflag.FlagSet) {
	flags.StringArrayVar(&s.filters, "filter", nil, "config `STATEMENT` to apply after the file, such as 'only Fedora'; repeatable")
	flags.StringArrayVar(&s.params, "param", nil, "set a param in every variant: `KEY=VALUE`; repeatable")
}

// parse reads the config with the filters and params applied.
func (s *selection) parse() (*cartesian.Config, error) {
	extra := append([]string(nil), s.filters...)
	for _, text := range s.params {
		key, value, ok := strings.Cut(text, "=")
		if !ok || strings.TrimSpace(key) == "" {
			return nil, fmt.Errorf("--param %s: want KEY=VALUE", text)
		}
		statement, err := cartesian.Assignment(strings.TrimSpace(key), value)
		if err != nil {
			return nil, fmt.Errorf("--param %s: %w", text, err)
		}
		extra = append(extra, statement)
	}
	var config *cartesian.Config
	var err error
	if s.config == "" {
		config, err = cartesian.ParseFS(stdlib.FS, stdlib.DefaultConfig, extra...)
	} else {
		config, err = cartesian.ParseFile(s.config, extra...)
	}
	if err != nil {
		return nil, usageError(err)
	}
	return config, nil
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
func limitVariants(ctx context.Context, config *cartesian.Config, options cartesian.Options, limit int) error {
	n, err := config.Count(ctx, options)
	if err != nil {
		return usageError(err)
	}
	if n.Cmp(big.NewInt(int64(limit))) > 0 {
		return usageError(tooManyVariants(limit, n.String()))
	}
	return nil
}

func tooManyVariants(limit int, count string) error {
	return fmt.Errorf("--max-variants %d: the config has %s variants; narrow it with --filter, or allow more with --max-variants",
		limit, count)
}

// setByUser says whether --param sets this key.
func (s *selection) setByUser(key string) bool {
	for _, text := range s.params {
		if k, _, _ := strings.Cut(text, "="); strings.TrimSpace(k) == key {
			return true
		}
	}
	return false
}
