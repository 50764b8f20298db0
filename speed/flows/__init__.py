"""Every flow of the speed layer: a module for each says what it makes of its topic."""

from speed.flow import Flow
from speed.flows.fills import Fills
from speed.flows.quotes import Quotes
from speed.flows.trades import Trades

FLOWS: tuple[Flow, ...] = (Trades(), Quotes(), Fills())
