// SPDX-License-Identifier: Apache-2.0

package assist

import (
	"sync"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// A cache keeps what was read of configs, for each file its latest text.
type cache struct {
	mu      sync.Mutex
	configs map[string]*config // by full names
}

// A config is what the text of a config says by itself.
type config struct {
	text    string
	outline cartesian.Outline
}

func newCache() *cache { return &cache{configs: map[string]*config{}} }

// config returns what is in a text of a config. It may be read twice by two goroutines at the same time.
func (c *cache) config(name, text string) *config {
	c.mu.Lock()
	known := c.configs[name]
	c.mu.Unlock()
	if known != nil && known.text == text {
		return known
	}
	read := &config{text, cartesian.Outlined(name, text)}
	c.mu.Lock()
	c.configs[name] = read
	c.mu.Unlock()
	return read
}
