// The key for the API: of this tab alone, and forgotten with it.
//
// A key comes in the address after its #, as `lakehouse api address` prints it, or is typed. What
// follows the # leaves the browser in no request, and is taken out of the address at once.

const STORED = "lakehouse-key";

export const heldKey = () => sessionStorage.getItem(STORED);
export const holdKey = (key) => sessionStorage.setItem(STORED, key.trim());
export const forgetKey = () => sessionStorage.removeItem(STORED);

/** Keep the key that the address brought, if it did. */
export function takeKeyFromAddress() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!key) return;
  holdKey(key);
  history.replaceState(null, "", location.pathname + location.search);
}
