"""Nodes that stand aside run beside the others, and end as those do."""

import os
import signal
import subprocess
import sys
import time

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from bidsharmony.supervise.aside import AsidePlugin


def meet(mine, theirs):
    """Say that this node runs, and wait for another one to say so; give the process."""
    import os
    import time
    from pathlib import Path

    Path(mine).touch()
    deadline = time.monotonic() + 60
    while not Path(theirs).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f'{theirs} never ran')
        time.sleep(0.01)
    return os.getpid()


def fail(kind):
    """End as nodes do that have no luck."""
    import os
    import signal

    if kind == 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == 'leaves':
        os._exit(3)
    if kind == 'long':
        raise ValueError('x' * 200_000 + ' the end')
    if kind == 'unpicklable':

        class OddError(Exception):
            pass

        raise OddError('of a class that nobody else has')
    raise OSError(28, 'No space left on device')


def give(value):
    """Give what there was."""
    return value


def pair(a, b):
    """Give two things as one."""
    return [a, b]


def node(name, function, inputs=('value',), **given):
    """Make a node of a function."""
    made = Node(Function(list(inputs), ['out'], function=function), name=name)
    made.inputs.trait_set(**given)
    return made


@pytest.fixture
def workflow(tmp_path):
    """Give an empty graph with a folder of its own."""
    made = Workflow(name='all', base_dir=str(tmp_path / 'work'))
    made.config = {
        'execution': {'crashdump_dir': str(tmp_path), 'crashfile_format': 'txt'},
        'logging': {},
    }
    return made


def run(workflow, *aside, urgent=()):
    """Run a graph with some nodes aside; its results, what was told, and what ended it."""
    told, results, error = [], {}, None

    def report(done, status):
        told.append((done.name, status))
        if status == 'end':
            results[done.name] = done.result.outputs.out
        results[f'{done.name} usage'] = getattr(done, 'usage', None)

    def rank(one):
        return aside.index(one.name) if one.name in aside else None

    try:
        plugin = AsidePlugin(report, rank, lambda one: one.name in urgent)
        workflow.run(plugin=plugin)
    except Exception as caught:
        error = caught
    return results, told, error


def test_two_nodes_run_at_once(workflow, tmp_path):
    """Each waits for the other to run; what needs both is run last, and sees both results."""
    ports = ('mine', 'theirs')
    first, second = str(tmp_path / 'first'), str(tmp_path / 'second')
    here = node('here', meet, ports, mine=first, theirs=second)
    beside = node('beside', meet, ports, mine=second, theirs=first)
    both = node('both', pair, ('a', 'b'))
    workflow.connect([(here, both, [('out', 'a')]), (beside, both, [('out', 'b')])])
    results, told, error = run(workflow, 'beside')
    assert error is None
    assert told[-2:] == [('both', 'start'), ('both', 'end')]
    assert results['both'] == [os.getpid(), results['beside']]
    assert results['beside'] != os.getpid()
    assert results['here usage'] is None
    used = results['beside usage']
    assert used.seconds > 0
    assert used.memory_mb > 10


def test_one_fork_at_a_time(workflow):
    """A second node that stands aside waits for the first one, or runs in this process."""
    workflow.add_nodes([node(name, give, value=name) for name in 'abcd'])
    results, told, error = run(workflow, 'a', 'b', 'c', 'd')
    assert error is None
    assert [results[name] for name in 'abcd'] == list('abcd')
    aside = {name for name in 'abcd' if results[f'{name} usage']}
    running = set()
    for name, status in told:
        (running.add if status == 'start' else running.discard)(name)
        assert len(running & aside) < 2


def test_a_node_that_cannot_be_forked_runs_here(workflow, monkeypatch, caplog):
    """Where there can be no more processes, it takes longer."""

    def no_more():
        raise BlockingIOError(11, 'Resource temporarily unavailable')

    monkeypatch.setattr(os, 'fork', no_more)
    workflow.add_nodes([node(name, give, value=1) for name in ('here', 'beside')])
    with caplog.at_level('WARNING', 'bidsharmony'):
        results, _, error = run(workflow, 'beside')
    assert error is None
    assert results['beside'] == 1
    assert 'is not run beside others' in caplog.text


def test_nothing_is_forked_where_nothing_else_is_ready(workflow):
    """A node that stands aside alone runs in this process."""
    first = node('first', give, value=1)
    second = node('second', give)
    workflow.connect([(first, second, [('out', 'value')])])
    results, _, error = run(workflow, 'first', 'second')
    assert error is None
    assert results['second'] == 1
    assert results['second usage'] is None


def test_what_others_wait_for_comes_first(workflow):
    """Of the nodes that are ready, an urgent one is run before the rest."""
    workflow.add_nodes([node(name, give, value=1) for name in ('a', 'b', 'c')])
    order = [name for name, status in run(workflow)[1] if status == 'start']
    _, told, _ = run(workflow, urgent=order[-1:])
    assert told[0] == (order[-1], 'start')


@pytest.mark.parametrize('ranked', ['abc', 'cab', 'bca'])
def test_the_first_of_those_that_may_stand_aside_does(workflow, ranked):
    """Their order is given, and not that of the graph."""
    workflow.add_nodes([node(name, give, value=1) for name in 'abc'])
    results, told, _ = run(workflow, *ranked)
    assert told[0] == (ranked[0], 'start')
    assert results[f'{ranked[0]} usage'] is not None


@pytest.mark.parametrize(
    ('kind', 'words'),
    [
        ('killed', 'MemoryError: beside was ended by SIGKILL'),
        ('leaves', 'RuntimeError: beside was ended by exit code 3'),
        ('long', 'the end'),
        ('unpicklable', 'OddError'),
        ('disk', 'No space left on device'),
    ],
)
def test_what_fails_aside_fails(workflow, kind, words):
    """The error is raised in the end; what needs the node is not run, all else is."""
    beside = node('beside', fail, ('kind',), kind=kind)
    after, other, last = node('after', give), node('other', give, value=5), node('last', give)
    workflow.connect([
        (beside, after, [('out', 'value')]), (other, last, [('out', 'value')]),
    ])  # fmt: skip
    results, told, error = run(workflow, 'beside')
    assert words in str(error)
    assert ('beside', 'exception') in told
    assert 'after' not in dict(told)
    assert results['last'] == 5


def test_a_fork_ends_with_its_process(tmp_path):
    """Who kills the process that runs a graph leaves nothing behind."""
    code = f"""
import sys
sys.path.insert(0, {str(os.getcwd())!r})
from nipype.pipeline.engine import Workflow
from bidsharmony.supervise.aside import AsidePlugin
from tests.test_aside import meet, node
workflow = Workflow(name='all', base_dir={str(tmp_path / 'work')!r})
ports = ('mine', 'theirs')
workflow.add_nodes([
    node(name, meet, ports, mine={str(tmp_path)!r} + '/' + name, theirs='/never')
    for name in ('here', 'beside')
])
workflow.run(plugin=AsidePlugin(lambda *_: None, lambda one: 0 if one.name == 'beside' else None))
"""
    process = subprocess.Popen([sys.executable, '-c', code], start_new_session=True)
    deadline = time.monotonic() + 60
    while not all((tmp_path / name).exists() for name in ('here', 'beside')):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail('the fork outlived its process')
