// Package svg writes what the plots of this project have in common. Lengths are in pixels.
package svg

import (
	"fmt"
	"html"
	"strings"
)

// Number is a length or a place.
type Number interface{ ~int | ~float64 }

// Open begins a document with a white ground; Close ends it.
func Open(b *strings.Builder, width, height int) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" `, width,
		height)
	b.WriteString(`font-family="DejaVu Sans, Arial, sans-serif" font-size="11" fill="#222">` + "\n")
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
}

// Close ends a document.
func Close(b *strings.Builder) { b.WriteString("</svg>\n") }

// Text writes a text, which is escaped. anchor is start, middle or end; style is more attributes, or empty.
func Text[X, Y Number](b *strings.Builder, x X, y Y, anchor, style, s string) {
	fmt.Fprintf(b, `<text x="%v" y="%v" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, style, html.EscapeString(s))
}

// Line draws a straight line.
func Line(b *strings.Builder, x1, y1, x2, y2 float64, style string) {
	fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" %s/>`+"\n", x1, x2, y1, y2, style)
}

// Grid is the style of the lines of a grid.
const Grid = `stroke="#e4e4e4"`

// Frame draws the frame around a plot.
func Frame(b *strings.Builder, x, y, width, height int) {
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#888"/>`+"\n", x, y, width, height)
}

// Curve draws a path (M and L commands) in a colour.
func Curve(b *strings.Builder, path, colour string) {
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.3" stroke-linejoin="round"/>`+"\n", path,
		colour)
}

// Tick returns the distance of the marks on an axis that ends at top: at most six of them.
func Tick(top float64) float64 {
	for scale := 0.1; scale < 1e12; scale *= 10 {
		for _, t := range []float64{1, 2, 5} {
			if top/(t*scale) <= 5 {
				return t * scale
			}
		}
	}
	return top / 4
}
