// SPDX-License-Identifier: Apache-2.0

// Package complete is the completion of command lines in shells: it knows variants,
// params, hosts, files and runs. Nothing is started or asked over the network for that.
package complete

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/assist"
	"github.com/mhmig/mhmig/lang/doc"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/library/project"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/result"
)

// A completer returns what a word of a command line can be.
type completer = cobra.CompletionFunc

// Source is what the completions are taken from.
type Source struct {
	// Libraries returns the libraries of a command line, whose --lib are given. It has
	// always some: with an error in them, mhmig's own.
	Libraries func(folders []string) library.Set
	// Config is the config of command lines that name none.
	Config string
	// ConfigExtension is that of configs.
	ConfigExtension string
	// Results is the folder of the results folders, unless --results names another.
	Results string
	// Formats are the values of --format, by the name of the command.
	Formats map[string][]string
}

// Add tells the shells' completion what the words of the command lines of root, and of
// the commands below it, can be.
func (s Source) Add(root *cobra.Command) {
	configs, programs := s.paths(s.ConfigExtension), s.paths(star.Extension, s.ConfigExtension, project.ArchiveExtension)
	for path, words := range map[string]completer{
		"exec": programs, "archive": programs, "list": configs, "explain": configs, "doc": s.topics, "report": s.runs,
		"report compare": s.runs, "cleanup": s.runs, "lab ssh": labHostNames,
	} {
		if command, _, err := root.Find(strings.Fields(path)); err == nil {
			command.ValidArgsFunction = words
		}
	}
	flags := map[string]completer{
		"filter": s.filters, "param": s.params, "hosts": hostNames, "config": configs, "diff": configs, "results": folders,
		"lab": fixed(string(lab.Embedded), string(lab.Netns)), "rerun": fixed("failed"),
	}
	var add func(command *cobra.Command)
	add = func(command *cobra.Command) {
		flags["format"] = nil
		if formats := s.Formats[command.Name()]; formats != nil {
			flags["format"] = fixed(formats...)
		}
		for name, words := range flags {
			if words != nil && command.Flags().Lookup(name) != nil {
				_ = command.RegisterFlagCompletionFunc(name, words) // fails for unknown flags only
			}
		}
		for _, below := range command.Commands() {
			add(below)
		}
	}
	add(root)
	root.InitDefaultCompletionCmd()
	if bash, _, err := root.Find([]string{"completion", "bash"}); err == nil {
		bash.RunE = func(command *cobra.Command, _ []string) error {
			var script bytes.Buffer
			if err := root.GenBashCompletionV2(&script, true); err != nil {
				return err
			}
			_, err := openQuotes.WriteString(command.OutOrStdout(), script.String())
			return err
		}
	}
}

// openQuotes makes cobra's script for bash complete words in quotes that are still open, such as --filter 'only: they are
// closed for the program that is asked, and completions are then not escaped.
var openQuotes = strings.NewReplacer(
	`    requestComp="${words[0]} __complete ${args[*]}"`, `    __mhmig_format='%q'
    if [[ ${cur} == [\'\"]* ]]; then
        __mhmig_format='%s'
        args[${#args[@]}-1]="${cur}${cur:0:1}"
        cur=${cur:1}
        requestComp="${words[0]} __complete ${args[*]}"
        out=$(eval "${requestComp}" 2>/dev/null)
        directive=${out##*:}
        out=${out%:*}
        return
    fi
    requestComp="${words[0]} __complete ${args[*]}"`,
	`printf "%q`, `printf "${__mhmig_format}`,
	`printf -v comp "%q"`, `printf -v comp "${__mhmig_format}"`,
)

const noFiles = cobra.ShellCompDirectiveNoFileComp

// described are items as the shells get them.
func described(items []assist.Item, before, after string) []string {
	var words []string
	for _, item := range items {
		about := item.Detail
		if about == "" {
			about, _, _ = strings.Cut(item.Doc, ". ")
		}
		words = append(words, before+item.Label+after+"\t"+about)
	}
	return words
}

// fixed are words of which there are few.
func fixed(words ...string) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) { return words, noFiles }
}

// libraries are the libraries of a command line.
func (s Source) libraries(command *cobra.Command) library.Set {
	folders, _ := command.Flags().GetStringArray("lib") // none: the command has no such flag
	return s.Libraries(folders)
}

// paths are files of this machine and of libraries, with one of the endings.
func (s Source) paths(endings ...string) completer {
	return func(command *cobra.Command, _ []string, written string) ([]string, cobra.ShellCompDirective) {
		items := assist.Paths(s.libraries(command), written, endings...)
		directive := noFiles
		if slices.ContainsFunc(items, func(i assist.Item) bool { return i.Kind == assist.Folder && strings.HasPrefix(i.Label, written) }) {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return described(items, "", ""), directive
	}
}

func folders(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// filters are statements of --filter: their last word is completed.
func (s Source) filters(command *cobra.Command, args []string, written string) ([]string, cobra.ShellCompDirective) {
	written = strings.TrimLeft(written, `'"`) // fish leaves an open quote in the word
	config, _ := command.Flags().GetString("config")
	if len(args) > 0 && filepath.Ext(args[0]) == s.ConfigExtension {
		config = args[0]
	}
	if config == "" {
		config = s.Config
	}
	first, _, more := strings.Cut(written, " ")
	if !more {
		return []string{"only ", "no ", "join "}, noFiles | cobra.ShellCompDirectiveNoSpace
	}
	c := assist.Statement(s.libraries(command), config, written)
	if !slices.Contains([]string{"only", "no", "join"}, first) || c.From < 0 {
		return nil, noFiles
	}
	return described(c.Items, written[:c.From], ""), noFiles
}

// params are KEY=VALUE of --param.
func (s Source) params(command *cobra.Command, _ []string, written string) ([]string, cobra.ShellCompDirective) {
	if key, _, hasValue := strings.Cut(written, "="); hasValue {
		return described(assist.Values(s.libraries(command), key), key+"=", ""), noFiles
	}
	return described(assist.Params(), "", "="), noFiles | cobra.ShellCompDirectiveNoSpace
}

// hostNames are names of hosts with commas between them, of which the last one is completed.
func hostNames(_ *cobra.Command, _ []string, written string) ([]string, cobra.ShellCompDirective) {
	before := written[:strings.LastIndexByte(written, ',')+1]
	var words []string
	for _, name := range host.Names() {
		if !slices.Contains(strings.Split(before, ","), name) {
			words = append(words, before+name)
		}
	}
	return words, noFiles | cobra.ShellCompDirectiveNoSpace
}

// labHostNames are the hosts of the lab that is up.
func labHostNames(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	up, err := lab.Find()
	if err != nil || up == nil || len(args) > 0 {
		return nil, noFiles
	}
	var words []string
	for _, h := range up.Hosts {
		words = append(words, h.Name)
	}
	return words, noFiles
}

// runs are the results folders.
func (s Source) runs(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	base, err := command.Flags().GetString("results")
	if err != nil {
		base = s.Results
	}
	found, _ := result.Runs(base) // none: there is no such folder
	slices.Reverse(found)
	return found, cobra.ShellCompDirectiveKeepOrder
}

// topics are what mhmig doc knows.
func (s Source) topics(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	index, err := doc.New(s.libraries(command))
	if err != nil || len(args) > 0 {
		return nil, noFiles
	}
	var words []string
	for _, kind := range doc.Kinds {
		for _, t := range index.Topics(kind) {
			words = append(words, t.Name+"\t"+t.Summary())
		}
	}
	return words, noFiles
}
