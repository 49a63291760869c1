package main

import (
	"net/http"

	"nmosauthd/agent/admin"
)

// administration returns the handler of the admin socket.
func (d *daemon) administration() http.Handler {
	return admin.Handler(admin.Functions{
		Inventory:     d.stock.document,
		PushInventory: d.stock.push,
	})
}
