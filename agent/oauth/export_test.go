package oauth

import (
	"context"
	"time"

	"nmosauthd/agent/discovery"
)

// Step does what is due, as Run does.
func (c *Client) Step(ctx context.Context) time.Duration {
	if c.work.Take(ctx) != nil {
		return 0
	}
	defer c.work.Done()
	return c.step(ctx)
}

// Here makes this the device's place in time, so that it does not wait after the start.
func (c *Client) Here(issuer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.placed, c.place = issuer, time.Now()
}

// Due makes everything due that has a time.
func (c *Client) Due() {
	c.next, c.upkeep = time.Time{}, time.Time{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.grants {
		g.next = time.Time{}
	}
}

// SetPatience bounds one request.
func (c *Client) SetPatience(d time.Duration) { c.patience = d }

// Settle lets the time of a rotation's step pass.
func (c *Client) Settle(d time.Duration) { c.stepAt = c.stepAt.Add(-d) }

const (
	KeySettled = keySettled
	KeyRetired = keyRetired
)

var (
	Renewal    = renewal
	ParseToken = parseToken
	ShownText  = shownText
	ErrClock   = errClock
)

// ChooseAuth returns the authentication method and the algorithm of its assertions.
func ChooseAuth(m discovery.Metadata, config Config, held string) (method, alg string, err error) {
	return chooseAuth(&m, &config, held)
}
