//go:build ignore

// Check reads a dashboard by Grafana's own types, and refuses what they do not know or do not allow:
//
//	go run -modfile=scripts/tools.mod scripts/grafana/check.go configs/grafana/nmos-authd.json
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	kinds := cog.NewRuntime() // of panels and queries that a dashboard may have
	kinds.RegisterPanelcfgVariant(stat.VariantConfig())
	kinds.RegisterPanelcfgVariant(table.VariantConfig())
	kinds.RegisterPanelcfgVariant(timeseries.VariantConfig())
	kinds.RegisterDataqueryVariant(prometheus.VariantConfig())
	text, err := os.ReadFile(os.Args[1])
	var d dashboard.Dashboard
	if err == nil {
		err = d.UnmarshalJSONStrict(text)
	}
	if err == nil {
		err = d.Validate()
	}
	if err != nil && err.Error() != "" { // an empty list of faults is an error here, too
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	fmt.Println("a dashboard of", len(d.Panels), "panels")
}
