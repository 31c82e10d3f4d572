package cases

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/sallyport-ftps/sallyport/host/sandbox"
)

// Result is a case with its report.
type Result struct {
	Case string `json:"case"`
	Report
}

// rounds is how often each case runs again, in another order.
const rounds = 3

// RunAll runs all cases, and then each again in shuffled order on the same instances: what a plugin
// kept from one attempt to the next would show.
func RunAll(ctx context.Context, runtime *sandbox.Runtime, plugin *sandbox.Plugin, all []Case) ([]Result, error) {
	results := make([]Result, len(all))
	for i, c := range all {
		report, err := c.Run(ctx, runtime, plugin, sandbox.DefaultLimits())
		if err != nil {
			return nil, fmt.Errorf("case %q: %w", c.Name, err)
		}
		results[i] = Result{c.Name, report}
	}
	for range rounds {
		for _, i := range rand.Perm(len(all)) {
			again, err := all[i].Run(ctx, runtime, plugin, sandbox.DefaultLimits())
			if err != nil {
				return nil, fmt.Errorf("case %q: %w", all[i].Name, err)
			}
			r := &results[i]
			if len(r.Problems) == 0 && (len(again.Problems) > 0 || again.Verdict != r.Verdict) {
				r.Report = again
				r.problem("this is what came when it ran again after other cases: it does not always do the same")
			}
		}
	}
	return results, nil
}
