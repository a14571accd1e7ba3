// The search of the catalog: it hides the cards that do not match, and puts the others in order.
'use strict';
const form = document.getElementById('search');
const list = document.querySelector('.cards');
const cards = [...list.children];
const none = document.querySelector('.none');
const count = form.querySelector('output');
const levels = ['', 'bronze', 'silver', 'gold'];
const words = new Map(cards.map((card) => [card, card.dataset.search.toLowerCase()]));
const orders = {
	level: (a, b) => levels.indexOf(b.dataset.level) - levels.indexOf(a.dataset.level),
	date: (a, b) => (b.dataset.date > a.dataset.date) - (b.dataset.date < a.dataset.date),
	name: () => 0,
};
const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name, 'en');

function show() {
	const wanted = form.q.value.toLowerCase().split(/\s+/).filter(Boolean);
	const least = levels.indexOf(form.level.value);
	let many = 0;
	for (const card of cards) {
		const hit =
			wanted.every((word) => words.get(card).includes(word)) &&
			(!form.runs.value || card.dataset.runs.split(' ').includes(form.runs.value)) &&
			levels.indexOf(card.dataset.level) >= least;
		card.hidden = !hit;
		many += hit;
	}
	const order = orders[form.order.value] ?? orders.name;
	cards.sort((a, b) => order(a, b) || byName(a, b));
	list.append(...cards);
	none.hidden = many > 0;
	count.textContent = many === cards.length ? `${many} plugins` : `${many} of ${cards.length} plugins`;
}

// What is searched stands behind the #, so that a link can lead there.
function remember() {
	const state = new URLSearchParams();
	for (const field of ['q', 'runs', 'level', 'order'])
		if (form[field].value && !(field === 'order' && form[field].value === 'level')) state.set(field, form[field].value);
	history.replaceState(null, '', `#${state}`);
}

function recall() {
	const state = new URLSearchParams(location.hash.slice(1));
	for (const field of ['q', 'runs', 'level', 'order'])
		form[field].value = state.get(field) ?? (field === 'order' ? 'level' : '');
	for (const field of ['runs', 'level']) if (form[field].selectedIndex < 0) form[field].value = '';
	if (form.order.selectedIndex < 0) form.order.value = 'level';
	show();
}

form.addEventListener('input', () => {
	show();
	remember();
});
form.addEventListener('submit', (event) => event.preventDefault());
window.addEventListener('hashchange', recall);
document.addEventListener('keydown', (event) => {
	if (event.key !== '/' || event.ctrlKey || event.metaKey || event.target.matches('input, select, textarea')) return;
	event.preventDefault();
	form.q.focus();
});
form.hidden = false;
recall();
document.documentElement.dataset.ready = 'true';
