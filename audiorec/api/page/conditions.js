// The rows of the form that become `filter`, and back.

import { byId, element } from './dom.js';

const OPERATORS = { is: 'is', not: 'is not', gte: 'is at least', lte: 'is at most', gt: 'is over', lt: 'is under' };
const LIKELY = ['label', 'artist', 'duration_s'];
const numeric = new Set(['duration_s']);
let columns = [];

export function setColumns(names) {
  columns = [...LIKELY.filter((name) => names.includes(name)), ...names.filter((name) => !LIKELY.includes(name))];
}

export function learnTypes(results) {
  for (const { metadata } of results) {
    for (const [name, value] of Object.entries(metadata)) {
      if (typeof value === 'number') numeric.add(name);
    }
  }
}

export function addCondition(changed, { column = columns[0], operator = 'is', value = '' } = {}) {
  const names = columns.includes(column) ? columns : [...columns, column];
  const row = element('li', {},
    select('Column', names.map((name) => [name, name]), column),
    select('Comparison', Object.entries(OPERATORS), operator),
    element('input', { type: 'text', value, 'aria-label': 'Value; several are joined by ;', placeholder: 'one; or another' }),
    element('button', { type: 'button', className: 'plain', textContent: 'Remove', onclick: () => { row.remove(); changed(); } }));
  byId('conditions').append(row);
  return row;
}

export function readConditions() {
  const filter = {};
  for (const row of byId('conditions').children) {
    const [column, operator, value] = [...row.querySelectorAll('select, input')].map((field) => field.value);
    const values = value.split(';').map((part) => part.trim()).filter(Boolean);
    if (!values.length) continue;
    const typed = valueOf(values, numeric.has(column) || !['is', 'not'].includes(operator));
    if (operator === 'is') filter[column] = typed;
    else if (isPlain(filter[column])) filter[column] = { ...filter[column], [operator]: typed };
  }
  return Object.keys(filter).length ? filter : null;
}

export function writeConditions(filter, changed) {
  byId('conditions').replaceChildren();
  for (const [column, wanted] of Object.entries(filter ?? {})) {
    const byOperator = isPlain(wanted) ? wanted ?? {} : { is: wanted };
    for (const [operator, value] of Object.entries(byOperator)) {
      addCondition(changed, { column, operator, value: [value].flat().join('; ') });
    }
  }
}

const isPlain = (wanted) => wanted === undefined || wanted === null || (typeof wanted === 'object' && !Array.isArray(wanted));

function valueOf(values, isNumeric) {
  const typed = values.map((value) => (isNumeric && Number.isFinite(Number(value)) ? Number(value) : value));
  return typed.length === 1 ? typed[0] : typed;
}

function select(label, choices, chosen) {
  const options = choices.map(([value, shown]) => element('option', { value, textContent: shown, selected: value === chosen }));
  return element('select', { 'aria-label': label }, ...options);
}
