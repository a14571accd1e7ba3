// The panel of one task, and the start of the page.

const panel = (() => {
	const host = document.getElementById('panel');
	let opener = null;

	const taskLink = (place, words = `${idOf(place)} ${nameOf(place)}`) =>
		make('a', { href: `#task-${numberOf(place)}` }, words);

	function links(found) {
		const shown = found.slice(0, 12).flatMap((place, index) => (index ? [', ', taskLink(place)] : [taskLink(place)]));
		if (found.length > 12) shown.push(` and ${grouped(found.length - 12)} more`);
		return shown;
	}

	function texts(title, words, label = title) {
		if (!words) return [];
		return [make('h4', {}, title), make('pre', { tabindex: '0', role: 'region', 'aria-label': label }, words)];
	}

	function failure([type, line, traceback]) {
		return text(traceback) || [type, text(line)].filter(Boolean).join(': ');
	}

	const ASK_AGAIN_MS = 1000;
	let shown = null; // the place of the task that is open
	let asked = 0;
	let filled = ''; // what the server told of it last

	// What only the server of a page that goes on knows of a task: its error, output, attempts.
	async function ask(number) {
		const mine = ++asked;
		const answer = await fetch(`task/${number}`).catch(() => null);
		if (!answer?.ok) return;
		const told = await answer.text();
		if (mine !== asked || shown === null || numberOf(shown) !== number) return;
		const more = JSON.parse(told);
		const key = `${stateOf(shown)} ${told}`;
		if (key !== filled) {
			filled = key;
			refill(more);
		}
		// What it writes next comes with no change of its row.
		if (more.runs) setTimeout(() => mine === asked && shown !== null && ask(number), ASK_AGAIN_MS);
	}

	// Fill the panel again, and keep what the reader sees; an output that was at its end stays there.
	function refill(more) {
		const at = host.scrollTop;
		const focused = document.activeElement?.getAttribute('aria-label');
		const scrolled = new Map();
		for (const each of host.querySelectorAll('pre')) {
			const atEnd = each.scrollTop + each.clientHeight >= each.scrollHeight - 4;
			scrolled.set(each.getAttribute('aria-label'), atEnd ? Infinity : each.scrollTop);
		}
		fill(shown, more);
		for (const each of host.querySelectorAll('pre')) {
			const label = each.getAttribute('aria-label');
			const top = scrolled.get(label) ?? (more.runs ? Infinity : 0);
			each.scrollTop = top === Infinity ? each.scrollHeight : top;
			if (label === focused) each.focus({ preventScroll: true });
		}
		host.scrollTop = at;
	}

	// What a task used, and what of it nobody can tell; nothing if there is nothing to know.
	function usedBy(place, more) {
		const many = !isLive && data.used === null; // too many tasks: only the distributions are here
		const runs = more.runs || !known(times.ended[place]) || !known(times.started[place]);
		const told = more.used ?? data.used?.[numberOf(place)] ?? '';
		if (many || runs || stateOf(place) === 'reused' || !['function', 'executable'].includes(kindOf(place))) return told;
		if (isLive && more.id === undefined) return told; // the server has not answered yet
		const figures = [['CPU time', 'CPU time'], ['peak memory', 'peak memory'], ['read ', 'bytes']];
		const missing = figures.filter(([word]) => !told.includes(word)).map(([, name]) => name);
		return [told, missing.length ? `not known: ${missing.join(', ')}` : ''].filter(Boolean).join('; ');
	}

	function fill(place, more = {}) {
		const number = numberOf(place);
		const facts = [
			['State', make('span', { class: `state is-${stateOf(place)}` }, stateOf(place))],
			['Kind', kindOf(place)],
			['Backend', backendOf(place)],
			['Worker', workerOf(place)],
			['Workflow', workflowOf(place)],
			...['added', 'ready', 'started', 'ended'].map((name) => [
				name[0].toUpperCase() + name.slice(1),
				known(times[name][place]) && `at ${moment(times[name][place])}`,
			]),
			['Arguments', more.arguments ?? data.arguments[number]],
			['Time', took[place] > 0 && seconds(took[place])],
			['Attempt', at(data.attempt, place) > 1 && String(at(data.attempt, place))],
			['Reused from', more.reused ?? data.reused[number]],
			['Not reused', more.why ?? data.why[number]],
			['Exit code', number in data.exit ? String(data.exit[number]) : more.exit],
			['Used', usedBy(place, more)],
			['Output', data.files?.[number]],
			['Result', (more.bytes ?? at(data.bytes, place) ?? null) !== null && `${grouped(more.bytes ?? at(data.bytes, place))} B stored`],
			['Waits for', more.waits],
		];
		const list = make('dl');
		for (const [name, value] of facts) if (value) list.append(make('dt', {}, name), make('dd', {}, value));
		const sources = above(place);
		const targets = below(place);
		if (sources.length) list.append(make('dt', {}, 'After'), make('dd', {}, ...links(sources)));
		if (targets.length) list.append(make('dt', {}, 'Before'), make('dd', {}, ...links(targets)));
		const close = make('button', { type: 'button', class: 'close', click: shut }, 'Close');
		host.replaceChildren(
			close,
			make('h2', {}, make('span', { class: 'name' }, nameOf(place))),
			make('code', {}, idOf(place)),
			list,
			...(number in data.error ? texts('Error', failure(data.error[number])) : []),
			...(isLive ? [] : failedOf(place)).flatMap(([, attempt, , , , error]) => texts(`Attempt ${attempt} failed`, failure(error))),
			...texts('Error', more.error),
			...(more.attempts ?? []).flatMap(([attempt, words]) => texts(`Attempt ${attempt} failed`, words)),
			...texts('stdout', more.stdout ?? text(data.out[number])),
			...texts('stderr', more.stderr ?? text(data.err[number])),
			...(more.tails ?? []).flatMap(([stream, about, words], index) =>
				texts(`${stream} (${about})`, words || ' ', `${stream}${index > 1 ? ` ${index}` : ''}`)),
			...texts('log records', more.log ?? text(data.log[number])),
		);
	}

	function open(place) {
		if (host.hidden) opener = document.activeElement;
		hideTip();
		shown = place;
		filled = '';
		fill(place);
		if (isLive) ask(numberOf(place));
		host.hidden = false;
		host.scrollTop = 0;
		host.focus({ preventScroll: true });
		timeline.reveal(place);
	}

	function shut() {
		if (host.hidden) return;
		host.hidden = true;
		shown = null;
		history.replaceState(null, '', '#');
		if (opener?.isConnected) opener.focus({ preventScroll: true });
	}

	document.addEventListener('keydown', (event) => {
		if (event.key === 'Escape') {
			hideTip();
			shut();
		}
	});
	// Fill the panel again if it shows one of the tasks at *places*.
	function update(places) {
		if (shown !== null && places.includes(shown)) ask(numberOf(shown));
	}
	return { open, shut, update };
})();

let mayCome = true; // whether the address may name a task that is not here yet
function route() {
	const match = /^#task-(\d+)$/.exec(location.hash);
	const place = match ? placeOf(+match[1]) : undefined;
	mayCome = match !== null && place === undefined;
	if (place !== undefined) panel.open(place);
}
addEventListener('hashchange', route);

const drawAll = () => view.changed();
new ResizeObserver(drawAll).observe(document.querySelector('main'));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
	readPalette();
	timeline.fillLegend?.();
	drawAll();
});

// Mark the section that is in view.
const marks = new Map([...document.querySelectorAll('nav a')].map((link) => [link.hash.slice(1), link]));
const seen = new Set();
const watch = new IntersectionObserver(
	(entries) => {
		for (const { target, isIntersecting } of entries)
			if (isIntersecting) seen.add(target.id);
			else seen.delete(target.id);
		const current = [...marks.keys()].find((id) => seen.has(id));
		for (const [id, link] of marks)
			if (id === current) link.setAttribute('aria-current', 'true');
			else link.removeAttribute('aria-current');
	},
	{ rootMargin: '-60px 0px -60% 0px' },
);
for (const id of marks.keys()) watch.observe(document.getElementById(id));

// Draw the top of the page first, the rest when there is time.
drawAll();
setTimeout(() => {
	graph.build();
	setTimeout(() => {
		tasks.build();
		document.documentElement.dataset.ready = 'true';
		route();
	});
});
