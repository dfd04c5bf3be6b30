// SPDX-License-Identifier: Apache-2.0

// Package cartesian reads Cartesian config, the format of virt-test and avocado-vt, and expands it into variants.
//
//	c, err := cartesian.ParseFile("guests.cfg", "only RHEL.6.4.x86_64", "mem = 2048")
//	if err != nil {
//		return err // a diag.List with all syntax errors
//	}
//	for v, err := range c.Variants(ctx, cartesian.Options{}) {
//		...
//	}
//
// # Words
//
// A config is text in files. A variants set in it multiplies what comes out; each of its variants has labels. What comes
// out at last is called variants too: one for each way to choose a variant of every set that the filters ("only", "no",
// "join") leave. A variant has a name, made of the labels on its way, and [Params]: a value for each key, made by the
// statements on its way in the order of the text.
//
// # What there is
//
//   - [ParseFile] and [ParseFS] read a config with all its includes; [Config.Warnings] and [Config.WhyEmpty] tell what is
//     probably not meant so.
//   - [Config.Variants] iterates, [Config.Write] writes names or JSON much faster and on all processors,
//     [Config.Count] counts without going through all, [Config.WriteTree] outlines.
//   - [Config.Explain] tells which statements made each param of a variant, [Config.WhyNot] which ones drop what a filter
//     asks for, and a [Diff] compares two configs.
//   - [Params.Object] narrows params to a VM, an image, a NIC or a host.
//
// # How it works
//
// A text goes through lex.go (lines and indents become tokens), parse.go and grammar.go (tokens become statements; the
// tags of the latter are the written grammar), build.go and finish.go (statements become a tree of nodes). walk.go goes
// through the tree to what filters leave, and remembers what it has found out below a node for all ways there that make
// no difference; fold.go, dict.go and join.go make the dict of each variant, encode.go and write.go its line. counter.go
// counts from the other end of the tree: residual.go says what is left of statements on the way, constraint.go what limits will
// meet, counterjoin.go and blocker.go do joins and defaults.
//
// # Concurrency
//
// A Config never changes once it is parsed: any number of goroutines may use it at the same time. A [Variant] belongs to
// the one who received it. Whatever takes a context ends soon after that does, with its cause. Memory does not grow with
// the number of variants, but of a Diff.
//
// # Limits
//
// Any bytes give a config or errors with their places. Configs are refused that are larger than anything real: by the
// size of a file, the depth of blocks and of includes, the number of includes, of statements and of sets in a row, the
// length of patterns. Values that grow beyond a MiB are an error of their variant.
package cartesian
