// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mhmig/mhmig/lang/assist"
	"github.com/mhmig/mhmig/lang/diag"
)

// A question is a request about a place in a document.
type question struct {
	server    *server
	document  *document
	workspace *assist.Workspace
	at        int // the byte offset
	newName   string
}

// questions are the requests about documents, by their methods.
var questions = map[string]func(question) (any, error){
	"textDocument/completion":    question.complete,
	"textDocument/hover":         question.hover,
	"textDocument/definition":    question.define,
	"textDocument/formatting":    question.format,
	"textDocument/prepareRename": question.prepareRename,
	"textDocument/rename":        question.rename,
}

// itemKinds are the protocol's numbers of kinds of completions.
var itemKinds = map[assist.Kind]int{
	assist.Function: 3, assist.Method: 2, assist.Attribute: 5, assist.Module: 9, assist.Variable: 6, assist.Keyword: 14,
	assist.Argument: 6, assist.Param: 10, assist.Label: 20, assist.Value: 12, assist.File: 17, assist.Folder: 19,
}

func (q question) complete() (any, error) {
	c := q.workspace.Complete(q.document.name, q.at)
	where := q.document.textRange(c.Span)
	typed := q.document.content[c.From:max(c.From, min(q.at, c.To))]
	// Less to send; when a letter is deleted, the editor asks again.
	list := completionList{IsIncomplete: typed != "", Items: []completionItem{}}
	for i, item := range c.Items {
		if !hasLetters(item.Label, typed) {
			continue
		}
		answer := completionItem{
			Label: item.Label, Kind: itemKinds[item.Kind], Detail: item.Detail, SortText: fmt.Sprintf("%05d", i),
			TextEdit: textEdit{where, item.Label},
		}
		if item.Doc != "" {
			doc := markdown(item.Doc)
			answer.Documentation = &doc
		}
		list.Items = append(list.Items, answer)
	}
	return list, nil
}

// hasLetters reports whether a label has what is typed, in this order, in either case.
func hasLetters(label, typed string) bool {
	label = strings.ToLower(label)
	for _, r := range strings.ToLower(typed) {
		i := strings.IndexRune(label, r)
		if i < 0 {
			return false
		}
		label = label[i:][utf8.RuneLen(r):]
	}
	return true
}

func (q question) hover() (any, error) {
	h, ok := q.workspace.Hover(q.document.name, q.at)
	if !ok {
		return nil, nil
	}
	return hover{markdown(h.Doc), q.document.textRange(h.Span)}, nil
}

func (q question) define() (any, error) {
	locations := []location{}
	for _, place := range q.workspace.Definition(q.document.name, q.at) {
		uri, err := q.server.uriOf(place.File, place.Text)
		if err != nil {
			return nil, err
		}
		locations = append(locations, location{uri, newText(place.Text).textRange(place.Span)})
	}
	return locations, nil
}

func (q question) format() (any, error) {
	edits, err := q.workspace.Format(q.document.name)
	if list := diag.Of(err); len(list) > 0 {
		return nil, list[0]
	} else if err != nil {
		return nil, err
	}
	return q.edits(edits), nil
}

// edits returns edits as the protocol has them.
func (q question) edits(edits []assist.Edit) []textEdit {
	all := make([]textEdit, 0, len(edits))
	for _, e := range edits {
		all = append(all, textEdit{q.document.textRange(e.Span), e.Text})
	}
	return all
}

func (q question) prepareRename() (any, error) {
	span, err := q.workspace.Renameable(q.document.name, q.at)
	if err != nil {
		return nil, err
	}
	return q.document.textRange(span), nil
}

func (q question) rename() (any, error) {
	edits, err := q.workspace.Rename(q.document.name, q.at, q.newName)
	if err != nil {
		return nil, err
	}
	return workspaceEdit{map[string][]textEdit{q.document.uri: q.edits(edits)}}, nil
}
