"""What every page has inside: its style, and a script without dependencies for the contents list and for sorting."""

STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #5f6368; --line: #d8dade; --paper: #fff; --stage: #f2f4f6;
  --button: #fff; --bad: #a32b1c; --badpaper: #fdf1ee; --link: #0060a8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --soft: #a6abb2; --line: #3a3e45; --paper: #17191d;
  --stage: #22262c; --button: #2a2e35; --bad: #ffb4a4; --badpaper: #3a2320; --link: #7cc0f5; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1500px; padding: 0 1rem;
  color: var(--ink); background: var(--paper); overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin: 1.6rem 0 .3rem; }
a { color: var(--link); }
section { border-top: 1px solid var(--line); scroll-margin-top: .5rem; }
p { margin: .3rem 0; color: var(--soft); max-width: 75rem; }
figure { display: inline-block; margin: .4rem .6rem .4rem 0; vertical-align: top; max-width: 100%; }
figcaption { font-size: 13px; color: var(--soft); }
figure.chart { background: #fff; color: #222; border-radius: 4px; padding: .2rem .3rem; box-sizing: border-box; }
figure.chart figcaption { color: #555; }
svg { max-width: 100%; height: auto; display: block; }
img { max-width: 100%; border-radius: 4px; display: block; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top; font-size: 14.5px; }
th { color: var(--soft); font-weight: 500; cursor: pointer; } th[aria-sort]::after { content: " ▾"; }
th[aria-sort=ascending]::after { content: " ▴"; }
tr + tr td { border-top: 1px solid var(--line); }
.warnings { margin: .4rem 0; padding: .4rem .8rem .4rem 1.8rem; background: var(--badpaper); color: var(--bad);
  border-radius: 6px; max-width: 73rem; box-sizing: border-box; }
td.warnings, td.notes { background: none; color: var(--bad); }
nav { margin: .8rem 0; } nav ol { columns: 18rem; font-size: 14.5px; padding-left: 2.2rem; margin: .4rem 0; }
nav select { font: inherit; padding: .2rem; } nav li span { color: var(--soft); }
@media (max-width: 720px) {
  body { margin: .8rem auto; padding: 0 .7rem; }
  table, tbody, tr, td { display: block; width: 100%; box-sizing: border-box; } th { display: none; }
  tr { border-top: 1px solid var(--line); padding: .4rem 0; } tr + tr td { border: 0; }
  td { padding: .12rem 0; } td:empty { display: none; }
  td[data-of]::before { content: attr(data-of) ": "; color: var(--soft); }
}
@media print { nav, .view3d { display: none; } }
"""

SCRIPT = """
(() => {
const sections = [...document.querySelectorAll('section')];
const titles = sections.map(one => one.querySelector('h2'));
const ranks = titles.map(title => JSON.parse(title.dataset.ranks || '{}'));
titles.forEach((title, i) => { sections[i].id = 'section-' + (i + 1); });
if (sections.length > 1 && sections.length <= 5000) {
  const nav = document.createElement('nav'), all = document.createElement('details');
  const list = document.createElement('ol');
  all.open = sections.length <= 40;
  all.append(Object.assign(document.createElement('summary'), {textContent: `Contents (${sections.length})`}));
  const names = [...new Set(ranks.flatMap(Object.keys))];
  const items = sections.map((one, i) => {
    const item = document.createElement('li'), link = document.createElement('a');
    link.href = '#' + one.id;
    link.textContent = titles[i].textContent;
    item.append(link);
    const [fit, warned] = [ranks[i]['worst fit'], ranks[i]['most warnings']];
    if (fit < 1e6) {
      const said = ` ${fit.toFixed(1)} %` + (warned ? `, ${warned} warning${warned > 1 ? 's' : ''}` : '');
      item.append(Object.assign(document.createElement('span'), {textContent: said}));
    } else if (fit) item.append(' no result');
    return item;
  });
  const order = name => {
    const rows = sections.map((_, i) => i);
    if (name) rows.sort((a, b) => (ranks[b][name] ?? -1) - (ranks[a][name] ?? -1) || a - b);
    list.append(...rows.map(i => items[i]));
    sections[0].parentNode.querySelector('nav').after(...rows.map(i => sections[i]));
  };
  nav.append(all);
  sections[0].before(nav);
  if (names.length) {
    const choice = document.createElement('select');
    choice.append(new Option('in their order', ''), ...names.map(name => new Option(name + ' first', name)));
    choice.onchange = () => order(choice.value);
    const label = document.createElement('label');
    label.append('Sorted: ', choice);
    nav.prepend(label);
  }
  all.append(list);
  order('');
}
const value = cell => {
  const number = parseFloat(cell.textContent.replace(/^[^0-9.-]+/, ''));
  return Number.isNaN(number) ? null : number;
};
for (const head of document.querySelectorAll('th')) {
  head.tabIndex = 0;
  head.title = 'Sort by this column';
  const sort = () => {
    const table = head.closest('table'), at = head.cellIndex, rows = [...table.rows].slice(1);
    const down = head.getAttribute('aria-sort') !== 'descending';
    for (const other of table.querySelectorAll('th')) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const compared = (a, b) => {
      const [x, y] = [value(a.cells[at]), value(b.cells[at])];
      if (x === null || y === null) {
        return (x === null) - (y === null) || a.cells[at].textContent.localeCompare(b.cells[at].textContent);
      }
      return down ? y - x : x - y;
    };
    rows[0]?.parentNode.append(...rows.sort(compared));
  };
  head.onclick = sort;
  head.onkeydown = event => { if (event.key === 'Enter') sort(); };
}
})();
"""
