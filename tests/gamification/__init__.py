"""Tests of gamification."""
