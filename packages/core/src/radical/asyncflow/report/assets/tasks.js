// The table of all tasks, with search, filters and sorting, fifty rows at a time.

const tasks = (() => {
	const PAGE = 50;
	const host = document.querySelector('#tasks .drawn');
	// From when it was ready to its first attempt.
	const waited = (place) => {
		const first = failedOf(place).find(([, , , start]) => start !== null);
		const begun = first ? first[3] * data.unit : times.started[place];
		return known(begun) && known(times.ready[place]) ? Math.max(begun - times.ready[place], 0) : NEVER;
	};
	const errorLine = (place) => {
		if (isLive) return causeOf(place) ?? '';
		const error = data.error[numberOf(place)];
		if (!error) return '';
		const first = text(error[1]).split('\n')[0];
		return `${error[0].split('.').pop()}${first ? ': ' + first : ''}`;
	};
	const tries = (place) => failedOf(place).length;
	// The head, what to sort by, what to show, the class.
	const columns = [
		['Task', numberOf, idOf, ''],
		['Name', nameOf, nameOf, 'long'],
		['State', stateOf, stateOf, ''],
		['Backend', backendOf, backendOf, ''],
		['Worker', workerOf, workerOf, ''],
		['Retries', tries, (place) => tries(place) || '', 'number'],
		['Start', (place) => times.started[place], (place) => moment(times.started[place]), 'number'],
		['Waited', waited, (place) => seconds(waited(place)), 'number'],
		['Time', (place) => took[place], (place) => (took[place] ? seconds(took[place]) : '–'), 'number'],
		['Error', errorLine, errorLine, 'long'],
	];
	let by = 0;
	let down = false;
	let page = 0;
	let rows = [];

	const search = make('input', { type: 'search', placeholder: 'Name, number, worker or error', 'aria-label': 'Search the tasks' });
	const choice = (label, options) =>
		make('select', { 'aria-label': label }, make('option', { value: '' }, label), ...options.map(([value, words]) => make('option', { value }, words)));
	const state = choice('All states', []);
	const name = choice('All functions', []);
	const backend = choice('All backends', []);
	// Give *select* these options; what was chosen stays chosen.
	function fill(select, options) {
		options.forEach(([value, words], index) => {
			const option = select.options[index + 1];
			if (option && option.value === value) option.text = words;
			else if (option) option.replaceWith(make('option', { value, selected: select.value === value }, words));
			else select.append(make('option', { value }, words));
		});
		while (select.options.length > options.length + 1) select.options[options.length + 1].remove();
	}
	function fillChoices() {
		const states = new Map();
		for (let place = 0; place < size; place++) states.set(stateOf(place), (states.get(stateOf(place)) ?? 0) + 1);
		if (states.size && state.value && state.value !== 'retried' && !states.has(state.value)) states.set(state.value, 0);
		const order = isLive ? [...states].sort(([a], [b]) => (a < b ? -1 : 1)) : [...states];
		fill(state, [...order.map(([each, many]) => [each, `${each} (${grouped(many)})`]), ...(data.failed.length ? [['retried', 'retried']] : [])]);
		fill(name, data.functions.length > 200 ? [] : data.functions.map(([words], index) => [String(index), words]));
		fill(backend, data.backends.map((words, index) => [String(index), words]));
		name.hidden = data.functions.length > 200;
		backend.hidden = data.backends.length < 2;
	}
	const count = make('span', { class: 'note window', 'aria-live': 'polite' });

	const heads = columns.map(([words, , , css], index) => {
		const sort = () => {
			down = by === index ? !down : css === 'number';
			by = index;
			refresh();
		};
		const button = make('button', { type: 'button', click: sort }, words);
		return make('th', { scope: 'col', class: css === 'number' ? css : undefined }, button);
	});
	const body = make('tbody');
	const back = make('button', { type: 'button', click: () => turn(page - 1) }, 'Previous');
	const next = make('button', { type: 'button', click: () => turn(page + 1) }, 'Next');
	const where = make('span', { class: 'note' });

	function filter() {
		const words = search.value.trim().toLowerCase();
		const hit = (line) => line.toLowerCase().includes(words);
		const names = new Set(data.functions.flatMap(([line], index) => (hit(line) ? [index] : [])));
		const workers = new Set(data.workers.flatMap((line, index) => (hit(line) ? [index] : [])));
		const workflows = new Set(data.workflows.flatMap((line, index) => (hit(line) ? [index] : [])));
		const digits = /^(task\.)?0*(\d+)$/.exec(words);
		const found = [];
		for (let place = 0; place < size; place++) {
			if (state.value && (state.value === 'retried' ? !tries(place) : stateOf(place) !== state.value)) continue;
			if (name.value && functionOf(place) !== +name.value) continue;
			if (backend.value && at(data.backend, place) !== +backend.value) continue;
			if (
				words &&
				!names.has(functionOf(place)) &&
				!workers.has(at(data.worker, place)) &&
				!workflows.has(at(data.workflow, place)) &&
				!(digits && String(numberOf(place)) === digits[2]) &&
				!idOf(place).includes(words) &&
				!(errorLine(place) && hit(errorLine(place)))
			)
				continue;
			found.push(place);
		}
		return found;
	}

	function refresh(to = 0) {
		rows = filter();
		if (by !== 0 || down) {
			const value = columns[by][1];
			const values = new Map(rows.map((place) => [place, value(place)]));
			const sign = down ? -1 : 1;
			rows.sort((a, b) => {
				const [x, y] = [values.get(a), values.get(b)];
				return (x < y ? -sign : x > y ? sign : 0) || a - b;
			});
		}
		heads.forEach((head, index) => {
			if (index === by) head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
			else head.removeAttribute('aria-sort');
			const mark = index === by ? (down ? ' ↓' : ' ↑') : '';
			head.firstChild.textContent = columns[index][0] + mark;
		});
		count.textContent = rows.length === size ? plural(size, 'task') : `${grouped(rows.length)} of ${plural(size, 'task')}`;
		turn(to);
	}

	function turn(to) {
		const pages = Math.max(1, Math.ceil(rows.length / PAGE));
		page = clamp(to, 0, pages - 1);
		body.replaceChildren(
			...rows.slice(page * PAGE, (page + 1) * PAGE).map((place) => {
				const row = make('tr', {});
				for (const [head, , show, css] of columns) {
					const value = show(place);
					if (head === 'Task') row.append(make('td', {}, make('a', { class: 'task', href: `#task-${numberOf(place)}` }, value)));
					else if (head === 'State') row.append(make('td', {}, make('span', { class: `state is-${value}` }, value)));
					else if (css === 'number') row.append(make('td', {}, make('span', { class: 'number' }, String(value))));
					else row.append(make('td', { class: css || undefined }, make('span', { class: head === 'Name' ? 'name' : 'foreign' }, value.length > 160 ? value.slice(0, 159) + '…' : value)));
				}
				row.addEventListener('click', (event) => {
					if (!event.target.closest('a')) location.hash = `task-${numberOf(place)}`;
				});
				return row;
			}),
		);
		if (!rows.length) body.append(make('tr', {}, make('td', { colspan: columns.length, class: 'empty' }, 'No task matches.')));
		back.disabled = page === 0;
		next.disabled = page >= pages - 1;
		where.textContent = `Page ${grouped(page + 1)} of ${grouped(pages)}`;
	}

	let waiting = 0;
	search.addEventListener('input', () => {
		clearTimeout(waiting);
		waiting = setTimeout(() => refresh(), 120);
	});
	for (const select of [state, name, backend]) select.addEventListener('change', () => refresh());

	return {
		build() {
			const filters = make('div', { class: 'bar', role: 'search' }, search, state, name, backend, count);
			fillChoices();
			const table = make('table', { class: 'list' }, make('thead', {}, make('tr', {}, ...heads)), body);
			host.append(
				filters,
				make('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': 'Tasks' }, table),
				make('div', { class: 'bar' }, back, next, where),
			);
			host.hidden = false;
			refresh();
		},
		// Show what is new; the page that is open stays.
		update() {
			fillChoices();
			refresh(page);
		},
	};
})();
