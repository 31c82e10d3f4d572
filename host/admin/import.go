package admin

import (
	"context"
	"net/http"
	"net/url"

	"github.com/sallyport-ftps/sallyport/host/account"
)

// Import asks for accounts with the hashes that they have.
type Import struct {
	Accounts []account.Portable `json:"accounts"`
	Apply    bool               `json:"apply,omitempty"` // else only what would become of them
}

// ImportResult says what became of the accounts: of all, or of none.
type ImportResult struct {
	Accounts []account.Imported `json:"accounts"`
	Done     bool               `json:"done"`
}

// maxImport bounds an import, in bytes.
const maxImport = 64 << 20

func (h handler) importAccounts(r *http.Request) (ImportResult, error) {
	n, err := read[Import](r)
	if err != nil {
		return ImportResult{}, err
	}
	all, done, err := h.Accounts.Import(r.Context(), n.Accounts, n.Apply)
	if done && h.Log != nil {
		h.Log.Info("accounts imported by the administrator", "count", len(all))
	}
	return ImportResult{all, done}, err
}

func (h handler) exportAccounts(r *http.Request) ([]account.Portable, error) {
	all, err := h.Accounts.Export(r.Context(), r.URL.Query().Get("after"), pageSize)
	if err == nil && h.Log != nil {
		h.Log.Info("accounts exported by the administrator, with their hashes", "count", len(all))
	}
	return all, err
}

// Import makes accounts, or says what would become of them.
func (c *Client) Import(ctx context.Context, accounts []account.Portable, apply bool) (ImportResult, error) {
	return call[ImportResult](ctx, c, http.MethodPost, "/v1/import", Import{accounts, apply})
}

// Export returns all accounts with their hashes.
func (c *Client) Export(ctx context.Context) ([]account.Portable, error) {
	all := []account.Portable{}
	for after := ""; ; {
		page, err := call[[]account.Portable](ctx, c, http.MethodGet, "/v1/export?after="+url.QueryEscape(after), nil)
		if err != nil || len(page) == 0 {
			return all, err
		}
		all = append(all, page...)
		after = page[len(page)-1].Name
	}
}
