package certs

import "context"

func (c *Client) lists(ctx context.Context) {}
