// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// sink is an open file of the results folder. Writing to it never fails, so that a
// full disk does not end a run: the first error is reported once and returned by
// Close. Later writes are still tried, in case the disk has space again.
type sink struct {
	path    string
	onError func(error)

	mu   sync.Mutex
	file io.WriteCloser // nil once closed; what is written then is dropped
	err  error          // the first error
	torn bool           // the last line was cut: the next write begins a new one
}

func newSink(path string, file io.WriteCloser, onError func(error)) *sink {
	return &sink{path: path, file: file, onError: onError}
}

// Write appends p in one write and always returns len(p), nil.
func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	first := s.write(p)
	s.mu.Unlock()
	if first != nil {
		s.onError(fmt.Errorf("results are incomplete: %w", first))
	}
	return len(p), nil
}

// write returns the error if it is the file's first. The lock is held.
func (s *sink) write(p []byte) error {
	if s.file == nil {
		return nil
	}
	data := p
	if s.torn {
		data = append([]byte("\n"), p...)
	}
	_, err := s.file.Write(data)
	s.torn = err != nil
	if err == nil || s.err != nil {
		return nil //nolint:nilerr // only a file's first error is reported
	}
	s.err = err
	return err
}

// Close closes the file and returns the first write error. Closing twice is allowed.
func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		if err := s.file.Close(); s.err == nil {
			s.err = err
		}
		s.file = nil
	}
	if s.err != nil {
		return fmt.Errorf("results are incomplete: %w", s.err)
	}
	return nil
}

// openSink opens name in root for appending, making its folders.
func openSink(root *os.Root, name string, flags int, onError func(error)) (*sink, error) {
	file, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|flags, 0o644)
	if err != nil {
		return nil, err
	}
	return newSink(file.Name(), file, onError), nil
}
