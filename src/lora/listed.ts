/** How many items one message lists. */
export const mostListed = 8;

/** Names come from files: a longer one is cut. */
const longest = 200;

export function listed(items: readonly string[]): string {
  const more = items.length - mostListed;
  return items.slice(0, mostListed).map(cut).join("; ") + (more > 0 ? `; and ${more} more` : "");
}

function cut(item: string): string {
  return item.length > longest ? `${item.slice(0, longest)}…` : item;
}
