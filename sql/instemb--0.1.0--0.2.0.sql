/* instemb--0.1.0--0.2.0.sql */

\echo Use "ALTER EXTENSION instemb UPDATE TO '0.2.0'" to load this file. \quit
